#include "block.h"

#include "memory.h"
#include "print.h"

#define FEATURE_READ_ONLY (1UL << 5)
#define FEATURE_FLUSH (1UL << 9)
#define FEATURE_DISCARD (1UL << 13)
#define FEATURE_WRITE_ZEROES (1UL << 14)
#define MAX_QUEUE 256
#define CHAIN 3
#define STATUS_UNSET 0xff

struct block_slot {
    struct {
        uint32_t kind, reserved;
        uint64_t sector;
    } header;
    struct descriptor table[CHAIN];
    struct descriptor *chain; /* the table, or the slot's place in the queue */
    uint32_t expected;
    uint16_t head, base; /* base: index of the chain's first descriptor, for `next` */
    volatile uint8_t status;
    bool busy;
};

uint8_t *block_buffer(const struct block_device *disk, unsigned slot)
{
    return disk->buffers + (size_t)slot * disk->options.buffer;
}

static void lay_out(struct block_device *disk, unsigned number)
{
    struct block_slot *slot = &disk->slots[number];
    struct descriptor *ring = disk->queue.descriptors;
    bool indirect = disk->options.indirect;
    slot->busy = false;
    slot->head = (uint16_t)(indirect ? number : number * CHAIN);
    slot->base = indirect ? 0 : slot->head;
    slot->chain = indirect ? slot->table : &ring[slot->head];
    slot->chain[0] = (struct descriptor){.address = (uintptr_t)&slot->header,
                                         .length = sizeof slot->header,
                                         .flags = DESCRIPTOR_NEXT};
    slot->chain[1] = (struct descriptor){.address = (uintptr_t)block_buffer(disk, number),
                                         .next = (uint16_t)(slot->base + 2)};
    slot->chain[2] = (struct descriptor){
        .address = (uintptr_t)&slot->status, .length = 1, .flags = DESCRIPTOR_WRITE};
    if (indirect)
        ring[number].address = (uintptr_t)slot->table;
}

static bool problem(struct block_device *disk, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool problem(struct block_device *disk, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    format_text(disk->problem, sizeof disk->problem, format, arguments);
    va_end(arguments);
    return false;
}

bool block_start(struct block_device *disk, const struct block_options *options)
{
    uint64_t wanted = FEATURE_EVENT_IDX | FEATURE_INDIRECT | FEATURE_READ_ONLY | FEATURE_FLUSH |
                      FEATURE_DISCARD | FEATURE_WRITE_ZEROES;
    disk->options = *options;
    disk->in_flight = 0;
    if (!virtio_find(&disk->virtio, VIRTIO_BLOCK, options->number))
        return problem(disk, "no virtio disk %u", options->number);
    if (!virtio_negotiate(&disk->virtio, wanted, options->interrupts))
        return problem(disk, "the disk refuses the features");
    if (options->indirect && !(disk->virtio.features & FEATURE_INDIRECT))
        return problem(disk, "the disk does not offer indirect descriptors");
    if (!queue_start(&disk->queue, &disk->virtio, 0, MAX_QUEUE))
        return problem(disk, "the disk has no usable queue");
    unsigned room = options->indirect ? disk->queue.size : disk->queue.size / CHAIN;
    if (options->depth == 0 || options->depth > room)
        return problem(disk, "depth %u: the queue has room for 1 to %u requests", options->depth,
                       room);
    if (!disk->slots) {
        disk->slots = memory_take(options->depth * sizeof disk->slots[0]);
        disk->buffers = memory_take((size_t)options->depth * options->buffer);
    }
    if (!disk->slots || !disk->buffers)
        return problem(disk, "not enough memory for %u buffers of %u bytes", options->depth,
                       options->buffer);
    for (unsigned i = 0; i < options->depth; i++)
        lay_out(disk, i);
    disk->sectors = virtio_config64(&disk->virtio, 0);
    disk->can_flush = disk->virtio.features & FEATURE_FLUSH;
    disk->can_discard = disk->virtio.features & FEATURE_DISCARD;
    disk->can_write_zeroes = disk->virtio.features & FEATURE_WRITE_ZEROES;
    disk->read_only = disk->virtio.features & FEATURE_READ_ONLY;
    virtio_start(&disk->virtio);
    return true;
}

void block_submit(struct block_device *disk, unsigned number, enum block_request kind,
                  uint64_t sector, uint32_t length)
{
    struct block_slot *slot = &disk->slots[number];
    bool device_writes = kind == BLOCK_READ;
    slot->header.kind = kind;
    slot->header.sector = sector;
    slot->status = STATUS_UNSET;
    slot->busy = true;
    slot->expected = 1 + (device_writes ? length : 0);
    slot->chain[0].next = (uint16_t)(slot->base + (length > 0 ? 1 : 2));
    slot->chain[1].length = length;
    slot->chain[1].flags = DESCRIPTOR_NEXT | (device_writes ? DESCRIPTOR_WRITE : 0);
    if (disk->options.indirect) {
        /* A flush leaves the buffer out, so its table is walked from 0 to 2; all 3 belong to it. */
        disk->queue.descriptors[number].length = sizeof slot->table;
        disk->queue.descriptors[number].flags = DESCRIPTOR_INDIRECT;
    }
    disk->in_flight++;
    queue_offer(&disk->queue, slot->head);
}

bool block_take(struct block_device *disk, int *number)
{
    struct used_element element;
    *number = -1;
    if (!queue_take(&disk->queue, &element))
        return true;
    unsigned stride = disk->options.indirect ? 1 : CHAIN;
    unsigned index = element.head / stride;
    if (element.head % stride != 0 || index >= disk->options.depth || !disk->slots[index].busy)
        return problem(disk, "completion of descriptor %u, which is not in flight", element.head);
    struct block_slot *slot = &disk->slots[index];
    slot->busy = false;
    disk->in_flight--;
    *number = (int)index;
    disk->status = slot->status;
    if (slot->status != 0 && slot->status != STATUS_UNSET && disk->options.failures)
        return true;
    if (slot->status != 0)
        return problem(disk, "LBA %lu: request type %u ended with status %u", slot->header.sector,
                       slot->header.kind, slot->status);
    if (element.length != slot->expected)
        return problem(disk, "LBA %lu: used length expected %u, found %u", slot->header.sector,
                       slot->expected, element.length);
    return true;
}

bool block_wait(struct block_device *disk, int *slot)
{
    *slot = -1;
    if (!queue_wait(&disk->queue))
        return problem(disk, "the disk needs a reset");
    return block_take(disk, slot);
}
