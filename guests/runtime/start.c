/* The first C that runs, at CPL 3 on every CPU. */
#include "console.h"
#include "cpus.h"
#include "exit.h"
#include "interrupts.h"
#include "start_info.h"

_Noreturn void start(uint32_t number)
{
    if (number != BOOT_CPU)
        cpu_report_in(number);
    start_info_read();
    interrupts_start();
    console_start();
    guest_exit((uint8_t)guest_main());
}
