/* Everything that is typed comes back: both directions of the console, by interrupt alone. The
 * processor is halted whenever there is nothing to do. Says `echo: ready` first; ends with status
 * 0 at the byte 0x04, which is neither echoed nor counted. */
#include "console.h"
#include "exit.h"
#include "print.h"

#include <stdint.h>

#define END_OF_INPUT 0x04
#define CHUNK 512

const char guest_name[] = "echo";

int guest_main(void)
{
    char bytes[CHUNK];
    uint64_t total = 0;
    console_listen();
    print("echo: ready\n");
    for (;;) {
        size_t count = console_read(bytes, CHUNK), kept = 0;
        while (kept < count && bytes[kept] != END_OF_INPUT)
            kept++;
        console_write(bytes, kept);
        total += kept;
        if (kept < count) {
            print("echo: %lu bytes\n", total);
            return 0;
        }
    }
}
