#include "trial.h"

#include "arguments.h"
#include "bytes.h"
#include "exit.h"
#include "print.h"

#define SPINS_BETWEEN_STATUS_READS 1000
#define STATUS_READS 50000 /* until a device that has to answer is given up */

struct block_device trial_disk;
static const char *current = "";

static void wait_for_gate(void)
{
    static struct block_device gate;
    const struct block_options options = {
        .number = (unsigned)argument_number("gate", 0), .depth = 1, .buffer = SECTOR,
        .interrupts = true};
    int slot;
    if (options.number == 0)
        return;
    if (!block_start(&gate, &options))
        fail("gate: %s", gate.problem);
    while (*(volatile uint8_t *)block_buffer(&gate, 0) == 0) {
        block_submit(&gate, 0, BLOCK_READ, 0, SECTOR);
        block_publish(&gate);
        if (!block_wait(&gate, &slot))
            fail("gate: %s", gate.problem);
    }
    virtio_reset(&gate.virtio);
}

int trials_run(const struct trial *trials, unsigned count)
{
    char wanted[32];
    unsigned done = 0;
    argument_text("mode", "", wanted, sizeof wanted);
    wait_for_gate();
    for (unsigned i = 0; i < count; i++) {
        if (wanted[0] && !same_text(trials[i].name, wanted))
            continue;
        current = trials[i].name;
        trials[i].run();
        print("%s: %s: ok\n", guest_name, current);
        done++;
    }
    if (!done)
        fail("mode=%s is none of its modes", wanted);
    return 0;
}

void trial_failed(const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    format_text(text, sizeof text, format, arguments);
    va_end(arguments);
    fail("%s: %s", current, text);
}

void trial_start(void)
{
    const struct block_options options = {.number = (unsigned)argument_number("device", 0),
                                          .depth = TRIAL_DEPTH,
                                          .buffer = TRIAL_BLOCK};
    if (!block_start(&trial_disk, &options))
        trial_failed("%s", trial_disk.problem);
}

void trial_submit(unsigned slot, enum block_request kind, uint64_t block)
{
    block_submit(&trial_disk, slot, kind, block * (TRIAL_BLOCK / SECTOR), TRIAL_BLOCK);
}

void trial_finish(void)
{
    int slot;
    block_publish(&trial_disk);
    while (trial_disk.in_flight > 0)
        if (!block_wait(&trial_disk, &slot))
            trial_failed("%s", trial_disk.problem);
}

void trial_prove(void)
{
    static uint8_t round;
    uint8_t mark = (uint8_t)(++round * TRIAL_DEPTH);
    for (unsigned i = 0; i < TRIAL_DEPTH; i++) {
        memset(block_buffer(&trial_disk, i), mark + (int)i, TRIAL_BLOCK);
        trial_submit(i, BLOCK_WRITE, i);
    }
    trial_finish();
    for (unsigned i = 0; i < TRIAL_DEPTH; i++)
        trial_submit(i, BLOCK_READ, TRIAL_DEPTH - 1 - i);
    trial_finish();
    for (unsigned i = 0; i < TRIAL_DEPTH; i++)
        for (unsigned at = 0; at < TRIAL_BLOCK; at++)
            if (block_buffer(&trial_disk, i)[at] != (uint8_t)(mark + (int)(TRIAL_DEPTH - 1 - i)))
                trial_failed("block %u is wrong at byte %u", TRIAL_DEPTH - 1 - i, at);
}

struct descriptor *trial_chain(unsigned slot)
{
    trial_submit(slot, BLOCK_READ, 0);
    trial_disk.queue.offered--;
    return &trial_disk.queue.descriptors[slot * 3];
}

void trial_await(bool may_complete)
{
    for (unsigned reads = 0; !virtio_needs_reset(&trial_disk.virtio); reads++) {
        for (unsigned spin = 0; spin < SPINS_BETWEEN_STATUS_READS; spin++) {
            if (may_complete && queue_ready(&trial_disk.queue))
                return;
            cpu_pause();
        }
        if (reads == STATUS_READS)
            trial_failed("the device neither answered nor asked for a reset");
    }
}

static void offer(uint16_t head, bool may_complete)
{
    queue_offer(&trial_disk.queue, head);
    queue_publish(&trial_disk.queue);
    trial_await(may_complete);
    trial_start();
    trial_prove();
}

void trial_refused(uint16_t head) { offer(head, false); }
void trial_survived(uint16_t head) { offer(head, true); }
