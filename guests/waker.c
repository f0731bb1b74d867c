/* Sleeps for its disk: how long it takes a halted processor to run again.
 *
 * In turn: one read with interrupts on, halted until it has come, then work=N units of computing
 * (2,000 instructions each). A latency counts from the submission until the program runs again
 * with the data, in cycles of the time-stamp counter, so it is the disk's time and the wake-up's.
 * Under contention the disk's part stays about the same and the wake-up's grows.
 *
 *   waker: start
 *   waker: done ops=<n> cycles=<total> p50=<n> p99=<n> max=<n>
 *
 * Arguments: ops=1000 work=0 size=4096 device=0.
 */
#include "arguments.h"
#include "block.h"
#include "exit.h"
#include "histogram.h"
#include "print.h"
#include "work.h"

const char guest_name[] = "waker";

static struct block_device disk;
static struct histogram latency;

static void read_once(uint64_t sector, uint32_t size)
{
    int slot;
    uint64_t begun = cycles();
    block_submit(&disk, 0, BLOCK_READ, sector, size);
    block_publish(&disk);
    if (!block_wait(&disk, &slot))
        fail("%s", disk.problem);
    histogram_add(&latency, cycles() - begun);
}

int guest_main(void)
{
    uint64_t ops = argument_number("ops", 1000), work = argument_number("work", 0);
    uint32_t size = (uint32_t)argument_number("size", 4096);
    if (size == 0 || size % SECTOR)
        fail("size=%u: a multiple of %u", size, SECTOR);
    struct block_options options = {.number = (unsigned)argument_number("device", 0),
                                    .depth = 1,
                                    .buffer = size,
                                    .interrupts = true};
    if (!block_start(&disk, &options))
        fail("%s", disk.problem);
    uint64_t places = disk.sectors / (size / SECTOR);
    if (places == 0 || ops == 0)
        fail("ops=%lu of size=%u: the disk has %lu sectors", ops, size, disk.sectors);
    print("waker: start\n");
    uint64_t begun = cycles();
    for (uint64_t i = 0; i < ops; i++) {
        read_once(i % places * (size / SECTOR), size);
        for (uint64_t unit = 0; unit < work; unit++)
            work_unit();
    }
    print("waker: done ops=%lu cycles=%lu p50=%lu p99=%lu max=%lu\n", ops, cycles() - begun,
          histogram_percentile(&latency, 50), histogram_percentile(&latency, 99), latency.longest);
    return 0;
}
