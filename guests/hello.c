/* The first guest to run on anything new: it says who it is and what it found, and ends with the
 * status it was given (`exit=N` up to 255, 0 otherwise). */
#include "bytes.h"
#include "arguments.h"
#include "cpus.h"
#include "entropy.h"
#include "exit.h"
#include "print.h"
#include "start_info.h"

#define SAMPLE 32
#define MIB (1UL << 20)

const char guest_name[] = "hello";

static void show_entropy(void)
{
    uint8_t sample[SAMPLE];
    bool all_equal = true;
    entropy_read(sample, SAMPLE);
    print("hello: entropy ");
    for (unsigned i = 0; i < SAMPLE; i++) {
        print("%02x", sample[i]);
        all_equal &= sample[i] == sample[0];
    }
    print("\n");
    if (all_equal)
        fail("the entropy device gave %u times the same byte", SAMPLE);
}

int guest_main(void)
{
    uint32_t cpus = cpus_start(NULL);
    print("hello: a bare-metal guest of splitvisor\n");
    print("hello: %u CPU%s\n", cpus, cpus == 1 ? "" : "s");
    print("hello: %lu MiB of memory\n", (memory_size() + MIB / 2) / MIB);
    if (entropy_start())
        show_entropy();
    else
        print("hello: no entropy device\n");
    uint64_t status = argument_number("exit", 0);
    if (status > 255)
        fail("exit=%lu does not fit into the byte that port 0xf4 takes", status);
    print("hello: exit %lu\n", status);
    return (int)status;
}
