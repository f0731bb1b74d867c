/* Gives memory back when it is asked to, and takes it again (virtio 1.2, section 5.5).
 *
 * All RAM that is left over is stamped, page by page. Then the guest follows its balloon's target,
 * halted while there is nothing to do: the highest pages go first and come back last. Whenever the
 * target is reached, every page that was kept must have its stamp; every page that comes back must
 * read as zeros, and is stamped anew.
 *
 *   balloon: ready, <n> MiB stamped
 *   balloon: keeps <n> of <m> MiB
 *   balloon: keeps <n> of <m> MiB, and needs them
 *
 * The last line is for a target that is too small. Arguments: rounds=0, after how many of these
 * lines it ends with status 0 (0: never).
 */
#include "arguments.h"
#include "exit.h"
#include "interrupts.h"
#include "memory.h"
#include "print.h"
#include "start_info.h"
#include "virtqueue.h"

#define VIRTIO_BALLOON 5
#define FEATURE_MUST_TELL_HOST 1UL
#define INFLATE 0
#define DEFLATE 1
#define NUM_PAGES (REG_CONFIG + 0)
#define ACTUAL (REG_CONFIG + 4)

#define PAGE 4096UL
#define WORDS (PAGE / sizeof(uint64_t))
#define MIB (1UL << 20)
#define PAGES_PER_MIB (MIB / PAGE)
#define MAX_REQUEST 1024 /* pages */

const char guest_name[] = "balloon";

static struct virtio_device device;
static struct virtqueue queues[2];
static uint64_t (*memory)[WORDS]; /* stamped pages, of which the last `given` are in the balloon */
static uint64_t pages, given;
static uint32_t numbers[MAX_REQUEST];

static uint64_t stamp_of(uint64_t page, uint64_t word)
{
    return (page << 32 | word) ^ 0x5bd1e9955bd1e995;
}

static void stamp(uint64_t page)
{
    for (uint64_t word = 0; word < WORDS; word++)
        memory[page][word] = stamp_of(page, word);
}

static void verify_kept(void)
{
    for (uint64_t page = 0; page < pages - given; page++)
        for (uint64_t word = 0; word < WORDS; word++)
            if (memory[page][word] != stamp_of(page, word))
                fail("page %lu was kept: word %lu expected 0x%lx, found 0x%lx", page, word,
                     stamp_of(page, word), memory[page][word]);
}

static void verify_empty(uint64_t page)
{
    for (uint64_t word = 0; word < WORDS; word++)
        if (memory[page][word])
            fail("page %lu came back: word %lu expected 0, found 0x%lx", page, word,
                 memory[page][word]);
}

/* One request for `count` pages from `first` on; returns when the device has done it. */
static void request(unsigned queue, uint64_t first, uint64_t count)
{
    struct virtqueue *to = &queues[queue];
    struct used_element done;
    for (uint64_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)((uintptr_t)memory[first + i] / PAGE);
    to->descriptors[0] = (struct descriptor){.address = (uintptr_t)numbers,
                                             .length = (uint32_t)(count * sizeof numbers[0])};
    queue_offer(to, 0);
    queue_publish(to);
    if (!queue_wait(to) || !queue_take(to, &done))
        fail("the balloon needs a reset");
    if (done.head != 0 || done.length != 0)
        fail("queue %u: request %u came back with %u bytes", queue, done.head, done.length);
}

static void inflate(uint64_t count)
{
    request(INFLATE, pages - given - count, count);
    given += count;
}

static void deflate(uint64_t count)
{
    uint64_t first = pages - given;
    request(DEFLATE, first, count);
    given -= count;
    for (uint64_t page = first; page < first + count; page++) {
        verify_empty(page);
        stamp(page);
    }
}

static uint64_t at_most(uint64_t value, uint64_t limit) { return value < limit ? value : limit; }

/* Follows the target until it is reached, wherever it moves meanwhile. Returns it. */
static uint64_t follow(void)
{
    for (;;) {
        uint64_t asked = virtio_read(&device, NUM_PAGES), possible = at_most(asked, pages);
        if (possible > given)
            inflate(at_most(possible - given, MAX_REQUEST));
        else if (possible < given)
            deflate(at_most(given - possible, MAX_REQUEST));
        else
            return asked;
        virtio_write(&device, ACTUAL, (uint32_t)given);
        if (virtio_read(&device, ACTUAL) != given)
            fail("told the device of %lu pages, it says %u", given, virtio_read(&device, ACTUAL));
    }
}

static void start(void)
{
    uint64_t features = FEATURE_MUST_TELL_HOST | FEATURE_EVENT_IDX;
    if (!virtio_find(&device, VIRTIO_BALLOON, 0))
        fail("there is no balloon");
    if (!virtio_negotiate(&device, features, true) ||
        !queue_start(&queues[INFLATE], &device, INFLATE, 2) ||
        !queue_start(&queues[DEFLATE], &device, DEFLATE, 2))
        fail("the balloon does not start");
    virtio_start(&device);
    size_t left;
    memory = memory_rest(&left);
    pages = left / PAGE;
    for (uint64_t page = 0; page < pages; page++)
        stamp(page);
    print("balloon: ready, %lu MiB stamped\n", left / MIB);
}

int guest_main(void)
{
    uint64_t rounds = argument_number("rounds", 0), reached = 0;
    uint64_t whole = (memory_size() + MIB / 2) / MIB;
    start();
    for (uint64_t round = 0; rounds == 0 || round < rounds;) {
        uint32_t seen = interrupt_count(device.irq);
        virtio_acknowledge(&device, seen);
        uint64_t asked = follow();
        if (asked == reached) {
            interrupt_wait(device.irq, seen);
            continue;
        }
        reached = asked;
        verify_kept();
        print("balloon: keeps %lu of %lu MiB%s\n", whole - given / PAGES_PER_MIB, whole,
              asked > pages ? ", and needs them" : "");
        round++;
    }
    return 0;
}
