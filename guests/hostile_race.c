/* A guest with two processors, of which one spoils what the other has just asked for.
 *
 * What a device checks and what it uses must be the same read of a descriptor, however fast the
 * other processor changes it: every request is served as it was at one moment, or refused. The
 * arguments are mode= (all of the table at the end), device=0, rounds=200. Needs two vCPUs.
 */
#include "arguments.h"
#include "bytes.h"
#include "cpus.h"
#include "exit.h"
#include "print.h"
#include "start_info.h"
#include "trial.h"

#define STORM 20000
#define MARK 0x5a

const char guest_name[] = "hostile_race";

static void (*volatile task)(unsigned turn); /* of the second processor, NULL: rest */
static volatile bool resting = true;
static unsigned rounds;

static void second_cpu(uint32_t number)
{
    for (unsigned turn = number;; turn++) {
        void (*now)(unsigned turn) = task;
        resting = !now;
        if (now)
            now(turn);
        else
            cpu_pause();
    }
}

static void set_task(void (*wanted)(unsigned turn))
{
    task = wanted;
    while (resting != !wanted)
        cpu_pause();
}

static volatile struct descriptor *chain(void) { return trial_disk.queue.descriptors; }

static void flip_address(unsigned turn)
{
    static const uint64_t step = 1UL << 20;
    uint64_t good = (uintptr_t)block_buffer(&trial_disk, 0);
    uint64_t bad = memory_end(good) + turn % 16 * step;
    chain()[1].address = turn % 2 ? good : bad;
}

static void flip_length(unsigned turn)
{
    chain()[1].length = turn % 2 ? TRIAL_BLOCK : turn % 4 ? UINT32_MAX : 1U << 28;
}

static void flip_next(unsigned turn) { chain()[1].next = turn % 2 ? 2 : turn % 4 ? 1 : UINT16_MAX; }

static void flip_flags(unsigned turn)
{
    const uint16_t good = DESCRIPTOR_NEXT | DESCRIPTOR_WRITE;
    chain()[1].flags = turn % 2 ? good : (uint16_t)(turn % 16);
}

static void flip_index(unsigned turn)
{
    volatile struct available_ring *available = trial_disk.queue.available;
    available->index = turn % 2 ? trial_disk.queue.published : (uint16_t)(turn * 257);
}

/* A read of the block of marks, spoiled while it is under way. What is served must be right. */
static bool race_once(void (*flip)(unsigned turn), bool whole)
{
    uint8_t *buffer = block_buffer(&trial_disk, 0);
    memset(buffer, 0, TRIAL_DEPTH * TRIAL_BLOCK);
    trial_submit(0, BLOCK_READ, 0);
    set_task(flip);
    block_publish(&trial_disk);
    virtio_write(&trial_disk.virtio, REG_QUEUE_NOTIFY, 0);
    trial_await(true);
    set_task(NULL);
    bool served = !virtio_needs_reset(&trial_disk.virtio);
    if (served && whole)
        for (unsigned at = 0; at < TRIAL_BLOCK; at++)
            if (buffer[at] != MARK)
                trial_failed("a read that was served is wrong at byte %u", at);
    for (unsigned at = TRIAL_BLOCK; at < TRIAL_DEPTH * TRIAL_BLOCK; at++)
        if (buffer[at] != 0)
            trial_failed("a read wrote into another buffer, at byte %u", at);
    trial_start();
    return served;
}

static void race(void (*flip)(unsigned turn), bool whole)
{
    unsigned served = 0;
    trial_start();
    memset(block_buffer(&trial_disk, 0), MARK, TRIAL_BLOCK);
    trial_submit(0, BLOCK_WRITE, 0);
    trial_finish();
    trial_start();
    for (unsigned i = 0; i < rounds; i++)
        served += race_once(flip, whole);
    print("%s: %u of %u served\n", guest_name, served, rounds);
    trial_prove();
}

static void address(void) { race(flip_address, true); }
static void length(void) { race(flip_length, true); }
static void next(void) { race(flip_next, false); } /* 0xffff may stand for no more descriptors */
static void flags(void) { race(flip_flags, false); } /* so may flags without NEXT */
static void index(void) { race(flip_index, false); }

static void ring_bell(unsigned turn)
{
    virtio_write(&trial_disk.virtio, REG_QUEUE_NOTIFY, turn % 64 ? 0 : turn);
}

/* Both processors ring, for nothing most of the time. */
static void notify_storm(void)
{
    set_task(ring_bell);
    for (unsigned i = 0; i < STORM; i++)
        ring_bell(i);
    trial_prove();
    set_task(NULL);
}

static void reset(unsigned turn)
{
    virtio_write(&trial_disk.virtio, REG_STATUS, turn % 3 ? 0 : turn & 0xff);
}

/* One submits, the other resets. */
static void reset_storm(void)
{
    for (unsigned i = 0; i < rounds; i++) {
        trial_start();
        set_task(reset);
        for (unsigned slot = 0; slot < TRIAL_DEPTH; slot++) {
            trial_submit(slot, slot % 2 ? BLOCK_READ : BLOCK_WRITE, slot);
            queue_publish(&trial_disk.queue);
            ring_bell(slot);
        }
        set_task(NULL);
    }
    trial_start();
    trial_prove();
}

static void toggle(unsigned turn) { virtio_write(&trial_disk.virtio, REG_QUEUE_READY, turn % 2); }

/* One submits, the other takes the queue away and gives it back. */
static void ready_storm(void)
{
    for (unsigned i = 0; i < rounds; i++) {
        trial_start();
        set_task(toggle);
        for (unsigned slot = 0; slot < TRIAL_DEPTH; slot++) {
            trial_submit(slot, BLOCK_READ, slot);
            queue_publish(&trial_disk.queue);
        }
        set_task(NULL);
    }
    trial_start();
    trial_prove();
}

int guest_main(void)
{
    static const struct trial trials[] = {
        {"address", address},         {"length", length},
        {"next", next},               {"flags", flags},
        {"index", index},             {"notify-storm", notify_storm},
        {"reset-storm", reset_storm}, {"ready-storm", ready_storm},
    };
    rounds = (unsigned)argument_number("rounds", 200);
    if (cpus_start(second_cpu) < 2)
        fail("one processor cannot race");
    trial_start();
    return trials_run(trials, sizeof trials / sizeof trials[0]);
}
