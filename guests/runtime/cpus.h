/* The other processors. */
#ifndef CPUS_H
#define CPUS_H

#include <stdint.h>

/* Starts every processor that the MADT names and waits for each to report in from CPL 3.
 * Returns how many run, the boot CPU included. Those that never report are left out. */
uint32_t cpus_start(void);

/* Where a secondary CPU arrives at CPL 3: it reports in and parks. */
_Noreturn void cpu_report_in(void);

#endif
