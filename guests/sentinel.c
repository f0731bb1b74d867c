/* The neighbour of those who misbehave: it notices whatever happens to its memory.
 *
 * All RAM behind the image and its buffers holds a pattern of its seed, and a CRC-32 of it is
 * taken (zlib's, so that it can be held against the memory from outside). Meanwhile the disk is
 * written, read back and verified, block after block, halted in between. Bytes on the console are
 * orders: `c` checks every word of the memory and the CRC, `h` halts until the next byte, `e`
 * ends; others are ignored.
 *
 *   sentinel: ready base=0x<first address> size=<bytes> hash=<CRC-32>
 *   sentinel: PASS hash=<CRC-32> blocks=<written and verified so far>
 *   sentinel: halted
 *
 * Anything wrong is `sentinel: FAIL ...` and status 1. Arguments: seed=1 device=0.
 */
#include "arguments.h"
#include "block.h"
#include "bytes.h"
#include "console.h"
#include "crc32.h"
#include "exit.h"
#include "memory.h"
#include "print.h"

#define DEPTH 4
#define BLOCK 4096

const char guest_name[] = "sentinel";

static struct block_device disk;
static uint64_t *memory, words, seed, blocks;
static uint32_t hash;

static uint64_t pattern(uint64_t index)
{
    uint64_t value = (index + (seed << 32) + 1) * 0x9e3779b97f4a7c15;
    return value ^ value >> 29;
}

static uint32_t hash_memory(void) { return crc32(memory, words * sizeof *memory); }

static void check_memory(void)
{
    for (uint64_t i = 0; i < words; i++)
        if (memory[i] != pattern(i))
            fail("memory at 0x%lx: expected 0x%lx, found 0x%lx", (uint64_t)(uintptr_t)&memory[i],
                 pattern(i), memory[i]);
    uint32_t now = hash_memory();
    if (now != hash)
        fail("hash: expected %08x, found %08x", hash, now);
    print("sentinel: PASS hash=%08x blocks=%lu\n", hash, blocks);
}

static void transfer(enum block_request kind, uint64_t first)
{
    int slot;
    for (unsigned i = 0; i < DEPTH; i++)
        block_submit(&disk, i, kind, (first + i) * (BLOCK / SECTOR), BLOCK);
    block_publish(&disk);
    while (disk.in_flight > 0)
        if (!block_wait(&disk, &slot))
            fail("%s", disk.problem);
}

/* Writes DEPTH blocks of the disk with what no round before wrote there, and reads them back. */
static void use_disk(void)
{
    const uint64_t per_slot = BLOCK / sizeof(uint64_t);
    uint64_t first = blocks % (disk.sectors / (BLOCK / SECTOR) - DEPTH + 1);
    uint64_t *data = (uint64_t *)block_buffer(&disk, 0);
    for (uint64_t i = 0; i < DEPTH * per_slot; i++)
        data[i] = pattern(blocks * per_slot + i);
    transfer(BLOCK_WRITE, first);
    memset(data, 0, DEPTH * BLOCK);
    transfer(BLOCK_READ, first);
    for (uint64_t i = 0; i < DEPTH * per_slot; i++)
        if (data[i] != pattern(blocks * per_slot + i))
            fail("disk, block %lu: wrong at byte %lu", first + i / per_slot, i % per_slot * 8);
    blocks += DEPTH;
}

static void start(void)
{
    size_t size;
    struct block_options options = {.number = (unsigned)argument_number("device", 0),
                                    .depth = DEPTH,
                                    .buffer = BLOCK,
                                    .interrupts = true};
    seed = argument_number("seed", 1);
    console_listen();
    if (!block_start(&disk, &options))
        fail("%s", disk.problem);
    if (disk.sectors < DEPTH * (BLOCK / SECTOR))
        fail("a disk of %lu sectors is too small", disk.sectors);
    crc32_prepare();
    memory = memory_rest(&size);
    words = size / sizeof *memory;
    for (uint64_t i = 0; i < words; i++)
        memory[i] = pattern(i);
    hash = hash_memory();
    print("sentinel: ready base=0x%lx size=%lu hash=%08x\n", (uint64_t)(uintptr_t)memory, size,
          hash);
}

int guest_main(void)
{
    bool halted = false;
    start();
    for (;;) {
        char order;
        while (!halted && !console_ready())
            use_disk();
        console_read(&order, 1);
        halted = order == 'h';
        if (halted)
            print("sentinel: halted\n");
        else if (order == 'c')
            check_memory();
        else if (order == 'e')
            return 0;
    }
}
