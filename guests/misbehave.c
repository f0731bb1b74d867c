/* A guest that does what no guest should, and then looks whether it is still served.
 *
 * Arguments: mode=<name> (without it all in turn), device=0. What ends the guest, and so comes
 * last: bad-instruction, triple-fault. What a disk must answer by asking for a reset
 * (DEVICE_NEEDS_RESET, virtio 1.2, 2.1), after which it works again: desc-loop, desc-outside,
 * desc-wrap, avail-jump, long-chain, bad-indirect. What must change nothing: mmio-garbage,
 * unknown-ports, notify-storm, reset-storm. After each comes a line `misbehave: <mode>: ok`; the
 * end is status 0, or `misbehave: FAIL ...` with status 1.
 */
#include "bytes.h"
#include "exit.h"
#include "memory.h"
#include "print.h"
#include "trial.h"

#define DEPTH TRIAL_DEPTH
#define BLOCK TRIAL_BLOCK
#define LONG_CHAIN 2048 /* descriptors; longer than any queue */
#define STORM 20000
#define RESETS 100

const char guest_name[] = "misbehave";

/* Ring-0 functions for the gate. */
__asm__("ring0_triple_fault:\n"
        "    lidt 1f(%rip)\n" /* an IDT without entries */
        "    ud2\n"
        "1:  .fill 10, 1, 0\n"
        "ring0_cmpxchg16b:\n"
        "    cmpxchg16b (%rdi)\n"
        "    ret\n"
        "ring0_xrstor:\n"
        "    xorl %eax, %eax\n"
        "    xorl %edx, %edx\n"
        "    xrstor (%rdi)\n"
        "    ret\n"
        "ring0_jump:\n"
        "    jmp *%rdi\n");
void ring0_triple_fault(void), ring0_cmpxchg16b(void), ring0_xrstor(void), ring0_jump(void);

static void triple_fault(void)
{
    ring0(ring0_triple_fault, 0, 0);
    trial_failed("it did not end the guest");
}

/* What back ends cannot do differs, so this tries one after the other, and last an instruction
 * from where there is no memory. Real processors take the first two in their stride, or raise
 * #UD, which ends the guest with a report of its own. */
static void bad_instruction(void)
{
    static uint8_t area[4096] __attribute__((aligned(64)));
    ring0(ring0_cmpxchg16b, (uintptr_t)area, 0);
    ring0(ring0_xrstor, (uintptr_t)area, 0);
    ring0(ring0_jump, 0xdffff000, 0);
    trial_failed("an instruction from nowhere was executed");
}

static void loop(void)
{
    trial_start();
    trial_chain(0)[1].next = 1;
    trial_refused(0);
}

static void outside(void)
{
    trial_start();
    trial_chain(0)[1].address = 1UL << 45;
    trial_refused(0);
}

static void wrap(void)
{
    trial_start();
    trial_chain(0)[1].address = -(uint64_t)(BLOCK / 2); /* its end wraps to 2048 */
    trial_refused(0);
}

static void available_jump(void)
{
    trial_start();
    trial_disk.queue.offered = (uint16_t)(trial_disk.queue.offered - 2);
    trial_refused(0);
}

static void start_with_indirect(void)
{
    trial_start();
    if (!(trial_disk.virtio.features & FEATURE_INDIRECT))
        trial_failed("the disk does not offer indirect descriptors");
}

/* A legal chain as long as the queue allows first, then one that is longer. */
static void long_chain(void)
{
    start_with_indirect();
    const unsigned pieces = 64;
    struct descriptor *ring = trial_disk.queue.descriptors;
    struct used_element done;
    struct descriptor first = trial_chain(0)[0], last = ring[2];
    for (uint16_t i = 0; i < pieces; i++)
        ring[1 + i] = (struct descriptor){
            .address = (uintptr_t)block_buffer(&trial_disk, 0) + i * (BLOCK / pieces),
            .length = BLOCK / pieces,
            .flags = DESCRIPTOR_NEXT | DESCRIPTOR_WRITE,
            .next = (uint16_t)(2 + i)};
    ring[0] = first;
    ring[1 + pieces] = last;
    queue_offer(&trial_disk.queue, 0);
    queue_publish(&trial_disk.queue);
    if (!queue_wait(&trial_disk.queue) || !queue_take(&trial_disk.queue, &done) ||
        done.length != BLOCK + 1)
        trial_failed("a legal chain of %u descriptors was refused", pieces + 2);

    struct descriptor *table = memory_take(LONG_CHAIN * sizeof *table);
    if (!table)
        trial_failed("not enough memory");
    for (uint16_t i = 0; i < LONG_CHAIN; i++)
        table[i] = (struct descriptor){.address = (uintptr_t)block_buffer(&trial_disk, 0),
                                       .length = 1,
                                       .flags = DESCRIPTOR_NEXT,
                                       .next = (uint16_t)(i + 1)};
    table[LONG_CHAIN - 1].flags = 0;
    ring[0] = (struct descriptor){.address = (uintptr_t)table,
                                  .length = LONG_CHAIN * sizeof *table,
                                  .flags = DESCRIPTOR_INDIRECT};
    trial_refused(0);
}

static void bad_indirect(void)
{
    static struct descriptor table[3] __attribute__((aligned(16)));
    const struct descriptor good = {
        .address = (uintptr_t)table, .length = sizeof table, .flags = DESCRIPTOR_INDIRECT};
    start_with_indirect();
    for (unsigned kind = 0; kind < 4; kind++) {
        struct descriptor *ring = trial_disk.queue.descriptors;
        ring[0] = good;
        memcpy(table, trial_chain(1), sizeof table);
        for (uint16_t i = 0; i < 3; i++)
            table[i].next = (uint16_t)(i + 1);
        if (kind == 0)
            ring[0].length = 15; /* not whole descriptors */
        else if (kind == 1)
            ring[0].address = 1UL << 45; /* the table is nowhere */
        else if (kind == 2)
            table[0] = good; /* a table inside a table */
        else
            table[1].next = 3; /* leads out of the table */
        print("misbehave: bad-indirect: kind %u of 4\n", kind + 1);
        trial_refused(0);
    }
}

static uint64_t noise(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Every offset below the configuration space, every size, aligned or not. The noise is never 0 in
 * any byte: a status of 0 would reset the device, and ring addresses must not be guest memory. */
static void mmio_garbage(void)
{
    trial_start();
    for (unsigned round = 0; round < 4; round++)
        for (uintptr_t at = trial_disk.virtio.base; at < trial_disk.virtio.base + 0x1f8; at++) {
            uint64_t value = noise() | 0x0101010101010101;
            device_write8(at, (uint8_t)value);
            device_write16(at, (uint16_t)value);
            device_write32(at, (uint32_t)value);
            device_write64(at, value);
            noise();
            device_read8(at);
            device_read16(at);
            device_read32(at);
            device_read64(at);
        }
    trial_start();
    trial_prove();
}

static void unknown_ports(void)
{
    for (uint16_t port = 0x5000; port < 0x5010; port = (uint16_t)(port + 4)) {
        port_out8(port, 0x55);
        port_out16(port, 0x5555);
        port_out32(port, 0x55555555);
        if (port_in8(port) != 0xff || port_in16(port) != 0xffff || port_in32(port) != 0xffffffff)
            trial_failed("port 0x%x does not read as all ones", port);
    }
}

static void notify_storm(void)
{
    trial_start();
    for (unsigned i = 0; i < STORM; i++) {
        if (i % (STORM / DEPTH) == 0) {
            trial_submit(i / (STORM / DEPTH), BLOCK_READ, 0);
            queue_publish(&trial_disk.queue);
        }
        virtio_write(&trial_disk.virtio, REG_QUEUE_NOTIFY, 0);
        if (i % 100 == 0)
            virtio_write(&trial_disk.virtio, REG_QUEUE_NOTIFY, 1 + i);
    }
    trial_finish();
    trial_prove();
}

/* Requests that a reset overtakes may or may not have happened, but their buffers are the
 * driver's again: nothing may arrive there later. */
static void reset_storm(void)
{
    trial_start();
    for (unsigned round = 0; round < RESETS; round++) {
        for (unsigned i = 0; i < DEPTH; i++)
            trial_submit(i, i % 2 ? BLOCK_READ : BLOCK_WRITE, i);
        block_publish(&trial_disk);
        trial_start();
    }
    memset(block_buffer(&trial_disk, 0), 0xa5, DEPTH * BLOCK);
    const uint8_t *abandoned = block_buffer(&trial_disk, 0);
    trial_disk.buffers = memory_take(DEPTH * BLOCK);
    if (!trial_disk.buffers)
        trial_failed("not enough memory");
    trial_start();
    for (uint8_t mark = 1; mark < 32; mark++)
        trial_prove();
    for (unsigned at = 0; at < DEPTH * BLOCK; at++)
        if (abandoned[at] != 0xa5)
            trial_failed("a request from before the last reset wrote at byte %u", at);
}

int guest_main(void)
{
    static const struct trial trials[] = {
        {"unknown-ports", unknown_ports}, {"desc-loop", loop},
        {"desc-outside", outside},        {"desc-wrap", wrap},
        {"avail-jump", available_jump},   {"long-chain", long_chain},
        {"bad-indirect", bad_indirect},   {"mmio-garbage", mmio_garbage},
        {"notify-storm", notify_storm},   {"reset-storm", reset_storm},
        {"bad-instruction", bad_instruction}, {"triple-fault", triple_fault},
    };
    return trials_run(trials, sizeof trials / sizeof trials[0]);
}
