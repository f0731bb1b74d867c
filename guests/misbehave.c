/* A guest that does what no guest should, once, and then looks whether it is still served.
 *
 * Arguments: mode=<name> device=0. What ends the guest: triple-fault, bad-instruction. What a
 * disk must answer by asking for a reset (DEVICE_NEEDS_RESET, virtio 1.2, 2.1), after which it
 * works again: desc-loop, desc-outside, desc-wrap, avail-jump, long-chain, bad-indirect. What must
 * change nothing: mmio-garbage, unknown-ports, notify-storm, reset-storm. The last line is
 * `misbehave: <mode>: ok` with status 0, or `misbehave: FAIL ...` with status 1.
 */
#include "arguments.h"
#include "block.h"
#include "bytes.h"
#include "exit.h"
#include "memory.h"
#include "print.h"

#define DEPTH 8
#define BLOCK 4096
#define STATUS_READS 200000 /* until a device that should need a reset is given up */
#define LONG_CHAIN 2048     /* descriptors; longer than any queue */
#define STORM 20000
#define RESETS 100

const char guest_name[] = "misbehave";

static struct block_device disk;
static struct block_options options = {.depth = DEPTH, .buffer = BLOCK};

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

static void triple_fault(const char *mode)
{
    ring0(ring0_triple_fault, 0, 0);
    fail("%s: it did not end the guest", mode);
}

/* What back ends cannot do differs, so this tries one after the other, and last an instruction
 * from where there is no memory. Real processors take the first two in their stride, or raise
 * #UD, which ends the guest with a report of its own. */
static void bad_instruction(const char *mode)
{
    static uint8_t area[4096] __attribute__((aligned(64)));
    ring0(ring0_cmpxchg16b, (uintptr_t)area, 0);
    ring0(ring0_xrstor, (uintptr_t)area, 0);
    ring0(ring0_jump, 0xdffff000, 0);
    fail("%s: an instruction from nowhere was executed", mode);
}

static void start_disk(void)
{
    if (!block_start(&disk, &options))
        fail("%s", disk.problem);
}

static void transfer(unsigned slot, enum block_request kind, uint64_t block)
{
    block_submit(&disk, slot, kind, block * (BLOCK / SECTOR), BLOCK);
}

static void finish(void)
{
    int slot;
    block_publish(&disk);
    while (disk.in_flight > 0)
        if (!block_wait(&disk, &slot))
            fail("%s", disk.problem);
}

/* Writes DEPTH blocks and reads them back in other slots: the disk works. */
static void prove_it_works(uint8_t mark)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        memset(block_buffer(&disk, i), mark + (int)i, BLOCK);
        transfer(i, BLOCK_WRITE, i);
    }
    finish();
    for (unsigned i = 0; i < DEPTH; i++)
        transfer(i, BLOCK_READ, DEPTH - 1 - i);
    finish();
    for (unsigned i = 0; i < DEPTH; i++)
        for (unsigned at = 0; at < BLOCK; at++)
            if (block_buffer(&disk, i)[at] != (uint8_t)(mark + (int)(DEPTH - 1 - i)))
                fail("block %u: wrong at byte %u", DEPTH - 1 - i, at);
}

/* Offers `head`, whose chain is bad; the device must ask for a reset, and work after it. */
static void provoke(const char *what, uint16_t head)
{
    queue_offer(&disk.queue, head);
    queue_publish(&disk.queue);
    for (unsigned reads = 0; !virtio_needs_reset(&disk.virtio); reads++)
        if (reads == STATUS_READS)
            fail("%s: the device did not ask for a reset", what);
    start_disk();
    prove_it_works((uint8_t)strlen(what));
}

static struct descriptor *chain_of(unsigned slot)
{
    transfer(slot, BLOCK_READ, 0);
    disk.queue.offered--; /* laid out, but to be offered by provoke */
    return &disk.queue.descriptors[slot * 3];
}

static void bad_descriptor(const char *mode)
{
    struct descriptor *chain = chain_of(0);
    if (same_text(mode, "desc-loop"))
        chain[1].next = 1;
    else if (same_text(mode, "desc-outside"))
        chain[1].address = 1UL << 45;
    else
        chain[1].address = -(uint64_t)(BLOCK / 2); /* its end wraps to 2048 */
    provoke(mode, 0);
}

static void available_jump(const char *mode)
{
    disk.queue.offered = (uint16_t)(disk.queue.offered - 2);
    provoke(mode, 0);
}

/* A legal chain as long as the queue allows first, then one that is longer. */
static void long_chain(const char *mode)
{
    const unsigned pieces = 64;
    struct descriptor *ring = disk.queue.descriptors;
    struct used_element done;
    struct descriptor first = chain_of(0)[0], last = ring[2];
    for (uint16_t i = 0; i < pieces; i++)
        ring[1 + i] = (struct descriptor){
            .address = (uintptr_t)block_buffer(&disk, 0) + i * (BLOCK / pieces),
            .length = BLOCK / pieces,
            .flags = DESCRIPTOR_NEXT | DESCRIPTOR_WRITE,
            .next = (uint16_t)(2 + i)};
    ring[0] = first;
    ring[1 + pieces] = last;
    queue_offer(&disk.queue, 0);
    queue_publish(&disk.queue);
    if (!queue_wait(&disk.queue) || !queue_take(&disk.queue, &done) || done.length != BLOCK + 1)
        fail("%s: a legal chain of %u descriptors was refused", mode, pieces + 2);

    struct descriptor *table = memory_take(LONG_CHAIN * sizeof *table);
    if (!table)
        fail("%s: not enough memory", mode);
    for (uint16_t i = 0; i < LONG_CHAIN; i++)
        table[i] = (struct descriptor){.address = (uintptr_t)block_buffer(&disk, 0),
                                       .length = 1,
                                       .flags = DESCRIPTOR_NEXT,
                                       .next = (uint16_t)(i + 1)};
    table[LONG_CHAIN - 1].flags = 0;
    ring[0] = (struct descriptor){.address = (uintptr_t)table,
                                  .length = LONG_CHAIN * sizeof *table,
                                  .flags = DESCRIPTOR_INDIRECT};
    provoke(mode, 0);
}

static void bad_indirect(const char *mode)
{
    static struct descriptor table[3] __attribute__((aligned(16)));
    const struct descriptor good = {
        .address = (uintptr_t)table, .length = sizeof table, .flags = DESCRIPTOR_INDIRECT};
    for (unsigned kind = 0; kind < 4; kind++) {
        struct descriptor *ring = disk.queue.descriptors;
        ring[0] = good;
        memcpy(table, chain_of(1), sizeof table);
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
        print("misbehave: %s: kind %u of 4\n", mode, kind + 1);
        provoke(mode, 0);
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
static void mmio_garbage(const char *mode)
{
    for (unsigned round = 0; round < 4; round++)
        for (uintptr_t at = disk.virtio.base; at < disk.virtio.base + 0x1f8; at++) {
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
    start_disk();
    prove_it_works((uint8_t)mode[0]);
}

static void unknown_ports(const char *mode)
{
    for (uint16_t port = 0x5000; port < 0x5010; port = (uint16_t)(port + 4)) {
        port_out8(port, 0x55);
        port_out16(port, 0x5555);
        port_out32(port, 0x55555555);
        if (port_in8(port) != 0xff || port_in16(port) != 0xffff || port_in32(port) != 0xffffffff)
            fail("%s: port 0x%x does not read as all ones", mode, port);
    }
}

static void notify_storm(const char *mode)
{
    for (unsigned i = 0; i < STORM; i++) {
        if (i % (STORM / DEPTH) == 0) {
            transfer(i / (STORM / DEPTH), BLOCK_READ, 0);
            queue_publish(&disk.queue);
        }
        virtio_write(&disk.virtio, REG_QUEUE_NOTIFY, 0);
        if (i % 100 == 0)
            virtio_write(&disk.virtio, REG_QUEUE_NOTIFY, 1 + i);
    }
    finish();
    prove_it_works((uint8_t)mode[0]);
}

/* Requests that a reset overtakes may or may not have happened, but their buffers are the
 * driver's again: nothing may arrive there later. */
static void reset_storm(const char *mode)
{
    for (unsigned round = 0; round < RESETS; round++) {
        for (unsigned i = 0; i < DEPTH; i++)
            transfer(i, i % 2 ? BLOCK_READ : BLOCK_WRITE, i);
        block_publish(&disk);
        start_disk();
    }
    memset(block_buffer(&disk, 0), 0xa5, DEPTH * BLOCK);
    const uint8_t *abandoned = block_buffer(&disk, 0);
    disk.buffers = memory_take(DEPTH * BLOCK);
    if (!disk.buffers)
        fail("%s: not enough memory", mode);
    start_disk();
    for (uint8_t mark = 1; mark < 32; mark++)
        prove_it_works(mark);
    for (unsigned at = 0; at < DEPTH * BLOCK; at++)
        if (abandoned[at] != 0xa5)
            fail("%s: a request from before the last reset wrote at byte %u", mode, at);
}

static const struct {
    const char *name;
    void (*misbehave)(const char *mode);
    bool needs_disk, needs_indirect;
} modes[] = {
    {"triple-fault", triple_fault, false, false},
    {"bad-instruction", bad_instruction, false, false},
    {"unknown-ports", unknown_ports, false, false},
    {"desc-loop", bad_descriptor, true, false},
    {"desc-outside", bad_descriptor, true, false},
    {"desc-wrap", bad_descriptor, true, false},
    {"avail-jump", available_jump, true, false},
    {"long-chain", long_chain, true, true},
    {"bad-indirect", bad_indirect, true, true},
    {"mmio-garbage", mmio_garbage, true, false},
    {"notify-storm", notify_storm, true, false},
    {"reset-storm", reset_storm, true, false},
};

int guest_main(void)
{
    char wanted[32];
    argument_text("mode", "", wanted, sizeof wanted);
    options.number = (unsigned)argument_number("device", 0);
    for (unsigned i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (!same_text(modes[i].name, wanted))
            continue;
        if (modes[i].needs_disk)
            start_disk();
        if (modes[i].needs_indirect && !(disk.virtio.features & FEATURE_INDIRECT))
            fail("%s: the disk does not offer indirect descriptors", wanted);
        modes[i].misbehave(wanted);
        print("misbehave: %s: ok\n", wanted);
        return 0;
    }
    fail("mode=%s is none of those at the top of misbehave.c", wanted);
}
