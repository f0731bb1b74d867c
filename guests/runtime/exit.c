#include "exit.h"

#include <stdarg.h>

#include "cpu.h"
#include "print.h"

#define EXIT_PORT 0xf4

void guest_exit(uint8_t status)
{
    port_out8(EXIT_PORT, status);
    for (;;)
        ring0(ring0_park, 0, 0);
}

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print("%s: FAIL ", guest_name);
    print_list(format, arguments);
    print("\n");
    va_end(arguments);
    guest_exit(1);
}
