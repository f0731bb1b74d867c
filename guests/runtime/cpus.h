/* The other processors. */
#ifndef CPUS_H
#define CPUS_H

#include <stdint.h>

#define BOOT_CPU 0

/* Starts every processor that the MADT names and waits for each to report in from CPL 3. Each then
 * calls `work` with its number, from 1 on, and parks when that returns; NULL parks it at once.
 * Returns how many run, the boot CPU included. Those that never report are left out. */
uint32_t cpus_start(void (*work)(uint32_t number));

/* Where a secondary CPU arrives at CPL 3. */
_Noreturn void cpu_report_in(uint32_t number);

#endif
