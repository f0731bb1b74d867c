/* Proof that a disk keeps what it is given: stamped blocks over the whole disk, written and read
 * back at a queue depth, with the verdict on the console.
 *
 * Each 4096-byte block carries its own index, the number of the write that put it there, a seed
 * and a CRC-32, so that a lost, stale, torn or misplaced write shows. Pass 1 writes every block;
 * later passes write them anew with reads in between, which must find the old stamp on blocks
 * not yet reached and the new one on those behind. Each pass flushes and then reads everything.
 *
 * A block: 8 bytes "SVBLOCK1", then little-endian u64 index, u64 sequence, u64 seed, filler from
 * a generator fed with these three, and in the last 4 bytes the CRC of all before. The sequence
 * of the block written as number n (from 0) in pass p (from 1) is (p - 1) * blocks + n.
 *
 * With trim=1, where the disk offers it, part of the blocks is given up after that, drawn by
 * sequence number: discarded, or overwritten with zeros that may or may not be a hole. From then
 * on until they are written anew a block of zeros must be zeros, a discarded one those or what it
 * was, and the others are verified once more.
 *
 * Arguments: depth=8 passes=2 seed=1 order=shuffled|sequential blocks=<all> device=0 irq=0
 * indirect=0 trim=0.
 */
#include "arguments.h"
#include "block.h"
#include "bytes.h"
#include "crc32.h"
#include "exit.h"
#include "print.h"

#define BLOCK 4096
#define SECTORS_PER_BLOCK (BLOCK / SECTOR)
#define MAGIC 0x314b434f4c425653 /* "SVBLOCK1" */
#define CRC_OFFSET (BLOCK - 4)
#define MAX_DEPTH 256

const char guest_name[] = "blockcheck";

struct stamp {
    uint64_t magic, index, sequence, seed;
};

struct order { /* position n is block (n * factor + shift) mod blocks: every block once */
    uint64_t factor, shift;
};

enum fate { KEPT, DISCARDED, ZEROED, ZEROED_UNMAPPED }; /* of a block whose pass is over */

struct pending {
    bool busy, reading, over;
    uint64_t index, sequence;
};

static struct block_device disk;
static struct pending pending[MAX_DEPTH];
static struct order order;
static uint64_t blocks, seed, requests, trims;
static bool trim;

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15;
    x = (x ^ x >> 29) * 0xd1342543de82ef95;
    return x ^ x >> 32;
}

static void choose_order(void)
{
    char name[16];
    argument_text("order", "shuffled", name, sizeof name);
    order = (struct order){.factor = 1};
    if (same_text(name, "sequential"))
        return;
    if (!same_text(name, "shuffled"))
        fail("order=%s: shuffled or sequential", name);
    /* Factors below 2^32 keep the product in 64 bits for disks up to 16 TiB. */
    for (order.factor = mix(seed) >> 32; greatest_common_divisor(order.factor, blocks) != 1;)
        order.factor++;
    order.shift = mix(~seed) % blocks;
}

static uint64_t block_at(uint64_t position)
{
    return (position * order.factor + order.shift) % blocks;
}

static void fill(uint8_t *buffer, uint64_t index, uint64_t sequence)
{
    *(struct stamp *)buffer = (struct stamp){MAGIC, index, sequence, seed};
    uint64_t state = mix(seed ^ mix(index ^ mix(sequence))) | 1;
    for (size_t at = sizeof(struct stamp); at < BLOCK; at += 8) {
        state ^= state << 13; /* Marsaglia's xorshift */
        state ^= state >> 7;
        state ^= state << 17;
        *(uint64_t *)(buffer + at) = state;
    }
    *(uint32_t *)(buffer + CRC_OFFSET) = crc32(buffer, CRC_OFFSET);
}

static enum fate fate_of(uint64_t sequence)
{
    if (!trim)
        return KEPT;
    switch (mix(mix(seed + 1) ^ sequence) % 8) {
    case 0:
    case 1:
        return disk.can_discard ? DISCARDED : KEPT;
    case 2:
        return disk.can_write_zeroes ? ZEROED : KEPT;
    case 3:
        return disk.can_write_zeroes ? ZEROED_UNMAPPED : KEPT;
    default:
        return KEPT;
    }
}

static bool all_zeros(const uint8_t *buffer)
{
    for (size_t at = 0; at < BLOCK; at += 8)
        if (*(const uint64_t *)(buffer + at) != 0)
            return false;
    return true;
}

/* A read that brings nothing must not find the right answer left over in its buffer. */
static void poison(uint8_t *buffer)
{
    for (size_t at = 0; at < BLOCK; at += SECTOR)
        *(uint64_t *)(buffer + at) = 0xdeadbeefdeadbeef;
}

static void expect(uint64_t index, const char *what, uint64_t expected, uint64_t found)
{
    if (expected != found)
        fail("block %lu (LBA %lu): %s expected 0x%lx, found 0x%lx", index,
             index * SECTORS_PER_BLOCK, what, expected, found);
}

static void verify(const uint8_t *buffer, uint64_t index, uint64_t sequence)
{
    const struct stamp *stamp = (const struct stamp *)buffer;
    expect(index, "magic", MAGIC, stamp->magic);
    expect(index, "index", index, stamp->index);
    expect(index, "sequence", sequence, stamp->sequence);
    expect(index, "seed", seed, stamp->seed);
    expect(index, "CRC", crc32(buffer, CRC_OFFSET), *(const uint32_t *)(buffer + CRC_OFFSET));
}

/* The same for one that may have been given up. */
static void verify_over(const uint8_t *buffer, uint64_t index, uint64_t sequence)
{
    enum fate fate = fate_of(sequence);
    bool zeros = fate != KEPT && all_zeros(buffer);
    if ((fate == ZEROED || fate == ZEROED_UNMAPPED) && !zeros)
        fail("block %lu (LBA %lu): zeros were written, found 0x%lx", index,
             index * SECTORS_PER_BLOCK, *(const uint64_t *)buffer);
    if (!zeros)
        verify(buffer, index, sequence);
}

/* Waits for one completion, and verifies it if it was a read. Returns its slot. */
static unsigned finish_one(void)
{
    int slot;
    do {
        if (!block_wait(&disk, &slot))
            fail("%s", disk.problem);
    } while (slot < 0);
    struct pending *done = &pending[slot];
    if (done->reading)
        (done->over ? verify_over : verify)(block_buffer(&disk, (unsigned)slot), done->index,
                                            done->sequence);
    done->busy = false;
    return (unsigned)slot;
}

static void finish_all(void)
{
    block_publish(&disk);
    while (disk.in_flight > 0)
        finish_one();
}

static bool touches_in_flight(uint64_t index)
{
    for (unsigned i = 0; i < disk.options.depth; i++)
        if (pending[i].busy && pending[i].index == index)
            return true;
    return false;
}

/* A free slot. What was submitted is published only when all slots are in flight, and then all
 * completions there are get taken: one doorbell for as many requests as possible. */
static unsigned free_slot(void)
{
    static unsigned hint;
    if (disk.in_flight == disk.options.depth) {
        block_publish(&disk);
        hint = finish_one();
        while (queue_ready(&disk.queue))
            hint = finish_one();
        return hint;
    }
    while (pending[hint].busy)
        hint = (hint + 1) % disk.options.depth;
    return hint;
}

/* A slot for a request about this block alone. */
static unsigned slot_for(uint64_t index)
{
    while (touches_in_flight(index)) {
        block_publish(&disk);
        finish_one();
    }
    requests++;
    return free_slot();
}

static void write_block(uint64_t index, uint64_t sequence)
{
    unsigned slot = slot_for(index);
    pending[slot] = (struct pending){.busy = true, .index = index, .sequence = sequence};
    fill(block_buffer(&disk, slot), index, sequence);
    block_submit(&disk, slot, BLOCK_WRITE, index * SECTORS_PER_BLOCK, BLOCK);
}

static void read_block(uint64_t index, uint64_t sequence, bool over)
{
    unsigned slot = slot_for(index);
    pending[slot] = (struct pending){true, true, over, index, sequence};
    poison(block_buffer(&disk, slot));
    block_submit(&disk, slot, BLOCK_READ, index * SECTORS_PER_BLOCK, BLOCK);
}

static void give_up(uint64_t index, enum fate fate)
{
    unsigned slot = slot_for(index);
    pending[slot] = (struct pending){.busy = true, .index = index};
    *(struct block_segment *)block_buffer(&disk, slot) =
        (struct block_segment){index * SECTORS_PER_BLOCK, SECTORS_PER_BLOCK,
                               fate == ZEROED_UNMAPPED ? BLOCK_UNMAP : 0};
    block_submit(&disk, slot, fate == DISCARDED ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES, 0,
                 sizeof(struct block_segment));
    trims++;
}

static void flush(void)
{
    if (!disk.can_flush)
        return;
    unsigned slot = free_slot();
    pending[slot] = (struct pending){.busy = true, .index = UINT64_MAX};
    block_submit(&disk, slot, BLOCK_FLUSH, 0, 0);
    requests++;
    finish_all();
}

static void progress(uint64_t pass, const char *phase, uint64_t position)
{
    uint64_t before = position * 10 / blocks, now = (position + 1) * 10 / blocks;
    if (now > before)
        print("blockcheck: pass %lu %s %lu%%\n", pass, phase, now * 10);
}

static void write_pass(uint64_t pass)
{
    uint64_t first = (pass - 1) * blocks;
    for (uint64_t n = 0; n < blocks; n++) {
        write_block(block_at(n), first + n);
        if (pass > 1) {
            uint64_t other = mix(first + n) % blocks; /* behind or ahead of the writes */
            bool ahead = other > n;
            read_block(block_at(other), (ahead ? first - blocks : first) + other, ahead);
        }
        progress(pass, pass > 1 ? "write and read" : "write", n);
    }
    finish_all();
}

static void read_pass(uint64_t pass, bool over)
{
    for (uint64_t n = 0; n < blocks; n++) {
        uint64_t position = (n + blocks / 2) % blocks;
        read_block(block_at(position), (pass - 1) * blocks + position, over);
        progress(pass, over ? "verify trimmed" : "verify", n);
    }
    finish_all();
}

static void trim_pass(uint64_t pass)
{
    for (uint64_t n = 0; n < blocks; n++) {
        enum fate fate = fate_of((pass - 1) * blocks + n);
        if (fate != KEPT)
            give_up(block_at(n), fate);
        progress(pass, "trim", n);
    }
    finish_all();
}

int guest_main(void)
{
    struct block_options options = {
        .number = (unsigned)argument_number("device", 0),
        .depth = (unsigned)argument_number("depth", 8),
        .buffer = BLOCK,
        .indirect = argument_number("indirect", 0),
        .interrupts = argument_number("irq", 0),
    };
    uint64_t passes = argument_number("passes", 2);
    seed = argument_number("seed", 1);
    trim = argument_number("trim", 0);
    crc32_prepare();
    if (!block_start(&disk, &options))
        fail("%s", disk.problem);
    if (disk.read_only)
        fail("the disk is read-only");
    uint64_t whole = disk.sectors / SECTORS_PER_BLOCK;
    blocks = argument_number("blocks", whole);
    if (blocks == 0 || blocks > whole)
        fail("blocks=%lu: the disk has %lu", blocks, whole);
    choose_order();
    print("blockcheck: %lu blocks, %lu passes, depth %u, %s\n", blocks, passes, options.depth,
          options.interrupts ? "interrupts" : "polling");
    for (uint64_t pass = 1; pass <= passes; pass++) {
        write_pass(pass);
        flush();
        read_pass(pass, false);
        if (trim) {
            trim_pass(pass);
            read_pass(pass, true);
        }
    }
    if (trim)
        print("blockcheck: %lu blocks given up (discard %s, write zeroes %s)\n", trims,
              disk.can_discard ? "offered" : "not offered",
              disk.can_write_zeroes ? "offered" : "not offered");
    print("blockcheck: PASS %lu blocks, %lu passes, %lu requests\n", blocks, passes, requests);
    return 0;
}
