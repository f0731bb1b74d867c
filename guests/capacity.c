/* A disk that grows while it is used. The capacity is printed at start and whenever the device
 * announces a change; the new blocks are then the next to be used.
 *
 * Stamped blocks (stamp.h, seed 1) are written over the whole disk, round after round, and each is
 * read back. The capacity is read once more after each round and when the disk has been reset: it
 * must be what was announced, must never have shrunk, and its generation must move with it.
 *
 * Arguments: changes=1 (ends when the blocks of so many have been used; 0: never) use=1 (0: the new
 * blocks are left alone) depth=8 device=0 irq=1 (0: polling).
 */
#include "arguments.h"
#include "block.h"
#include "crc32.h"
#include "exit.h"
#include "interrupts.h"
#include "print.h"
#include "stamp.h"

#define SEED 1
#define SECTORS_PER_BLOCK (STAMP_BLOCK / SECTOR)
#define MAX_DEPTH 64

const char guest_name[] = "capacity";

static struct block_device disk;
static struct block_options options = {.buffer = STAMP_BLOCK};
static struct pending {
    bool busy, reading;
    uint64_t index, sequence;
} pending[MAX_DEPTH];
static uint64_t blocks, cursor, sequence;
static uint32_t generation;

static void start(void)
{
    if (!block_start(&disk, &options))
        fail("%s", disk.problem);
}

static void submit(unsigned slot, enum block_request kind)
{
    block_submit(&disk, slot, kind, pending[slot].index * SECTORS_PER_BLOCK, STAMP_BLOCK);
}

static void read_back(unsigned slot)
{
    pending[slot].reading = true;
    stamp_poison(block_buffer(&disk, slot));
    submit(slot, BLOCK_READ);
}

/* One completion: a write is followed by its read, a read is judged. */
static void finish_one(void)
{
    int slot;
    uint64_t found;
    block_publish(&disk);
    do {
        if (!block_wait(&disk, &slot))
            fail("%s", disk.problem);
    } while (slot < 0);
    struct pending *done = &pending[slot];
    if (!done->reading) {
        read_back((unsigned)slot);
        return;
    }
    done->busy = false;
    if (stamp_look(block_buffer(&disk, (unsigned)slot), done->index, SEED, true, &found) !=
            STAMP_GOOD ||
        found != done->sequence)
        fail("block %lu: write %lu expected, found %lu", done->index, done->sequence, found);
}

static void finish_all(void)
{
    while (disk.in_flight > 0)
        finish_one();
}

static void write_next(void)
{
    unsigned slot = 0;
    while (pending[slot].busy)
        slot++;
    pending[slot] = (struct pending){true, false, cursor++, sequence++};
    stamp_fill(block_buffer(&disk, slot), pending[slot].index, pending[slot].sequence, SEED);
    submit(slot, BLOCK_WRITE);
}

static bool announced_in_the_end(void)
{
    for (;;) {
        uint32_t seen = disk.virtio.interrupts ? interrupt_count(disk.virtio.irq) : 0;
        if (virtio_reconfigured(&disk.virtio))
            return true;
        if (!disk.virtio.interrupts) /* what can be read is announced already */
            return false;
        interrupt_wait(disk.virtio.irq, seen);
    }
}

/* Whether there is more than was known, with nothing in flight. */
static bool grown(bool announced)
{
    uint64_t before = disk.sectors, now = virtio_config64(&disk.virtio, 0);
    uint32_t known = generation;
    generation = virtio_read(&disk.virtio, REG_CONFIG_GENERATION);
    disk.sectors = now;
    if (now == before) {
        if (announced)
            print("capacity: still %lu bytes\n", now * SECTOR);
        return false;
    }
    if (now < before)
        fail("shrunk from %lu to %lu bytes", before * SECTOR, now * SECTOR);
    if (generation == known)
        fail("grown to %lu bytes in generation %u, as before", now * SECTOR, known);
    if (!announced && !announced_in_the_end())
        fail("grown to %lu bytes without a word", now * SECTOR);
    print("capacity: grown to %lu bytes\n", now * SECTOR);
    return true;
}

static void check_after_reset(void)
{
    uint64_t known = disk.sectors;
    start();
    if (disk.sectors != known)
        fail("%lu bytes before a reset, and %lu after it", known * SECTOR, disk.sectors * SECTOR);
    pending[0] = (struct pending){true, true, blocks - 1, sequence - 1};
    read_back(0);
    finish_all();
}

int guest_main(void)
{
    uint64_t changes = argument_number("changes", 1), use = argument_number("use", 1);
    options.number = (unsigned)argument_number("device", 0);
    options.depth = (unsigned)argument_number("depth", 8);
    options.interrupts = argument_number("irq", 1) != 0;
    if (options.depth == 0 || options.depth > MAX_DEPTH)
        fail("depth=%u: 1 to %u", options.depth, MAX_DEPTH);
    crc32_prepare();
    start();
    generation = virtio_read(&disk.virtio, REG_CONFIG_GENERATION);
    blocks = disk.sectors / SECTORS_PER_BLOCK;
    print("capacity: %lu bytes\n", disk.sectors * SECTOR);
    for (uint64_t growths = 0, fresh = 0;;) { /* fresh: the first of the new blocks, or 0 */
        bool announced = false;
        while (cursor < blocks && !(announced = virtio_reconfigured(&disk.virtio))) {
            if (disk.in_flight == options.depth)
                finish_one();
            else
                write_next();
        }
        finish_all();
        if (cursor == blocks && fresh) {
            print("capacity: %lu new blocks used\n", blocks - fresh);
            fresh = 0;
        }
        if (growths && growths == changes && !fresh)
            break;
        if (grown(announced)) {
            growths++;
            if (!use)
                continue;
            fresh = fresh ? fresh : blocks;
            cursor = cursor < fresh ? fresh : cursor;
            blocks = disk.sectors / SECTORS_PER_BLOCK;
        } else if (cursor == blocks) {
            cursor = 0;
        }
    }
    check_after_reset();
    print("capacity: PASS\n");
    return 0;
}
