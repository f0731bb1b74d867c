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
 * Arguments: depth=8 passes=2 seed=1 order=shuffled|sequential blocks=<all> device=0 irq=0
 * indirect=0.
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

struct pending {
    bool busy, reading;
    uint64_t index, sequence;
};

static struct block_device disk;
static struct pending pending[MAX_DEPTH];
static struct order order;
static uint64_t blocks, seed, requests;

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
        verify(block_buffer(&disk, (unsigned)slot), done->index, done->sequence);
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

static void request(bool reading, uint64_t index, uint64_t sequence)
{
    while (touches_in_flight(index)) {
        block_publish(&disk);
        finish_one();
    }
    unsigned slot = free_slot();
    pending[slot] = (struct pending){true, reading, index, sequence};
    if (reading)
        poison(block_buffer(&disk, slot));
    else
        fill(block_buffer(&disk, slot), index, sequence);
    block_submit(&disk, slot, reading ? BLOCK_READ : BLOCK_WRITE, index * SECTORS_PER_BLOCK, BLOCK);
    requests++;
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
        request(false, block_at(n), first + n);
        if (pass > 1) {
            uint64_t other = mix(first + n) % blocks; /* behind or ahead of the writes */
            request(true, block_at(other), (other <= n ? first : first - blocks) + other);
        }
        progress(pass, pass > 1 ? "write and read" : "write", n);
    }
    finish_all();
}

static void read_pass(uint64_t pass)
{
    for (uint64_t n = 0; n < blocks; n++) {
        uint64_t position = (n + blocks / 2) % blocks;
        request(true, block_at(position), (pass - 1) * blocks + position);
        progress(pass, "verify", n);
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
        read_pass(pass);
    }
    print("blockcheck: PASS %lu blocks, %lu passes, %lu requests\n", blocks, passes, requests);
    return 0;
}
