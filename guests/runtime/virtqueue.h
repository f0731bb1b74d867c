/* A split virtqueue from the driver's side (virtio 1.2, section 2.7).
 *
 * The caller owns the descriptors: it writes chains into `descriptors` and offers their heads.
 * Offering is cheap and says nothing to the device; `queue_publish` makes all that was offered
 * visible at once and rings the doorbell if the device wants to hear it.
 */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include "virtio.h"

#define DESCRIPTOR_NEXT 1
#define DESCRIPTOR_WRITE 2 /* the device writes */
#define DESCRIPTOR_INDIRECT 4

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct available_ring {
    uint16_t flags, index;
    uint16_t heads[]; /* used_event follows the last */
};

struct used_element {
    uint32_t head, length;
};

struct used_ring {
    uint16_t flags, index;
    struct used_element elements[]; /* avail_event follows the last */
};

struct virtqueue {
    struct virtio_device *device;
    uint16_t number, size;
    uint16_t offered, published, taken; /* free-running indices */
    struct descriptor *descriptors;
    volatile struct available_ring *available;
    volatile struct used_ring *used;
};

/* Sets up queue `number` with at most `wanted` descriptors (a power of two). The same memory is
 * used again after a reset. False if the device has no such queue or memory is short. */
bool queue_start(struct virtqueue *queue, struct virtio_device *device, uint16_t number,
                 uint16_t wanted);

void queue_offer(struct virtqueue *queue, uint16_t head);
void queue_publish(struct virtqueue *queue);

/* The next completion, if there is one. */
bool queue_take(struct virtqueue *queue, struct used_element *element);

/* Waits for a completion, polling or halted as the device was negotiated. False if the device
 * needs a reset instead. */
bool queue_wait(struct virtqueue *queue);

static inline bool queue_ready(const struct virtqueue *queue)
{
    return queue->used->index != queue->taken;
}

#endif
