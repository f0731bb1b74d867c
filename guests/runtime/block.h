/* virtio-blk (virtio 1.2, section 5.2) with a fixed number of request slots.
 *
 * Each slot owns a header, a buffer, a status byte and the three descriptors that chain them, all
 * laid out once; submitting only fills in what differs. Every completion is held against what was
 * submitted: a request that is not in flight, a wrong length or an error status is a problem.
 */
#ifndef BLOCK_H
#define BLOCK_H

#include "virtqueue.h"

#define SECTOR 512

enum block_request {
    BLOCK_READ = 0,
    BLOCK_WRITE = 1,
    BLOCK_FLUSH = 4,
    BLOCK_DISCARD = 11,
    BLOCK_WRITE_ZEROES = 13
};

/* The data of the last two: an array of these. */
struct block_segment {
    uint64_t sector;
    uint32_t count, flags;
};
#define BLOCK_UNMAP 1u /* flag of write zeroes */

struct block_options {
    unsigned number; /* which disk, in the order of the command line */
    unsigned depth;  /* request slots */
    uint32_t buffer; /* bytes per slot */
    bool indirect;   /* chains in indirect tables */
    bool interrupts;
    bool failures; /* an error status is no problem, but for the caller to see */
};

struct block_slot;

struct block_device {
    struct virtio_device virtio;
    struct virtqueue queue;
    struct block_options options;
    uint64_t sectors;
    bool can_flush, can_discard, can_write_zeroes, read_only;
    unsigned in_flight;
    uint8_t status; /* of the completion taken last */
    struct block_slot *slots;
    uint8_t *buffers;
    char problem[160]; /* one line, when a call below says false */
};

/* Starts the disk, or starts it again after a reset, with nothing in flight. */
bool block_start(struct block_device *disk, const struct block_options *options);

uint8_t *block_buffer(const struct block_device *disk, unsigned slot);

/* Prepares a request on a free slot: `length` bytes of its buffer at `sector`; both 0 for a flush,
 * the sector 0 where segments say what it is about.
 * block_publish sends all that was submitted. */
void block_submit(struct block_device *disk, unsigned slot, enum block_request kind,
                  uint64_t sector, uint32_t length);
static inline void block_publish(struct block_device *disk) { queue_publish(&disk->queue); }

/* Takes one completion if there is one: *slot is the slot, or -1. False if it is wrong. */
bool block_take(struct block_device *disk, int *slot);

/* Waits for one completion. False if it is wrong or the device needs a reset. */
bool block_wait(struct block_device *disk, int *slot);

#endif
