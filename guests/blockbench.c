/* A fixed amount of I/O at a fixed depth, timed from inside: what a guest gets from its disk.
 *
 * It polls, with interrupts suppressed, and fills every free slot before it rings once for all of
 * them. Times are cycles of the time-stamp counter, per request from the doorbell's publication
 * to the completion being taken. Writes destroy what is on the disk.
 *
 * Arguments: depth=1 size=4096 ops=10000 mode=read|write|rw order=random|sequential device=0
 * seed=1 indirect=0.
 */
#include "arguments.h"
#include "block.h"
#include "bytes.h"
#include "exit.h"
#include "histogram.h"
#include "print.h"

#define MAX_DEPTH 256

const char guest_name[] = "blockbench";

static struct block_device disk;
static uint64_t started[MAX_DEPTH];
static struct histogram latency;
static uint64_t state, position, places;
static uint32_t size;
static bool sequential;
static uint64_t writes_of_two; /* of two requests on average: 0, 1 or 2 */

static uint64_t random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void submit(unsigned slot)
{
    uint64_t number = random();
    uint64_t place = sequential ? position++ % places : (number >> 32) * places >> 32;
    bool write = (number >> 16 & 1) < writes_of_two;
    block_submit(&disk, slot, write ? BLOCK_WRITE : BLOCK_READ, place * (size / SECTOR), size);
}

static void run(uint64_t ops)
{
    unsigned fresh[MAX_DEPTH], count = 0;
    uint64_t submitted = 0, done = 0;
    while (count < disk.options.depth) {
        fresh[count] = count;
        count++;
    }
    while (done < ops) {
        unsigned batch = 0;
        for (; batch < count && submitted < ops; batch++, submitted++)
            submit(fresh[batch]);
        uint64_t now = cycles();
        for (unsigned i = 0; i < batch; i++)
            started[fresh[i]] = now;
        block_publish(&disk);
        int slot;
        if (!block_wait(&disk, &slot))
            fail("%s", disk.problem);
        now = cycles();
        for (count = 0; slot >= 0; count++) {
            fresh[count] = (unsigned)slot;
            histogram_add(&latency, now - started[slot]);
            if (!block_take(&disk, &slot))
                fail("%s", disk.problem);
        }
        done += count;
    }
}

static void read_arguments(void)
{
    char word[16];
    argument_text("mode", "read", word, sizeof word);
    if (same_text(word, "write"))
        writes_of_two = 2;
    else if (same_text(word, "rw"))
        writes_of_two = 1;
    else if (!same_text(word, "read"))
        fail("mode=%s: read, write or rw", word);
    argument_text("order", "random", word, sizeof word);
    sequential = same_text(word, "sequential");
    if (!sequential && !same_text(word, "random"))
        fail("order=%s: random or sequential", word);
    size = (uint32_t)argument_number("size", 4096);
    if (size == 0 || size % SECTOR)
        fail("size=%u: a multiple of %u", size, SECTOR);
    state = argument_number("seed", 1) * 0x9e3779b97f4a7c15 | 1;
}

int guest_main(void)
{
    read_arguments();
    struct block_options options = {
        .number = (unsigned)argument_number("device", 0),
        .depth = (unsigned)argument_number("depth", 1),
        .buffer = size,
        .indirect = argument_number("indirect", 0),
    };
    uint64_t ops = argument_number("ops", 10000);
    if (!block_start(&disk, &options))
        fail("%s", disk.problem);
    places = disk.sectors / (size / SECTOR);
    if (places == 0 || ops == 0)
        fail("ops=%lu of size=%u: the disk has %lu sectors", ops, size, disk.sectors);
    print("blockbench: start\n");
    uint64_t begin = cycles();
    run(ops);
    uint64_t total = cycles() - begin;
    print("blockbench: done ops=%lu cycles=%lu p50=%lu p99=%lu max=%lu\n", ops, total,
          histogram_percentile(&latency, 50), histogram_percentile(&latency, 99), latency.longest);
    return 0;
}
