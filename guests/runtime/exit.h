/* How a guest ends. */
#ifndef EXIT_H
#define EXIT_H

#include <stdint.h>

#define STATUS_EXCEPTION 0x7f

/* Writes the status to port 0xf4 (QEMU's isa-debug-exit turns v into v << 1 | 1); where that does
 * not end the machine, halts for ever. */
_Noreturn void guest_exit(uint8_t status);

/* Prints `<guest>: FAIL <message>` and exits with status 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Each guest defines these two. */
extern const char guest_name[];
int guest_main(void); /* returns the exit status */

#endif
