#include "virtqueue.h"

#include "bytes.h"
#include "interrupts.h"
#include "memory.h"

#define NO_INTERRUPT 1 /* available ring's flags */
#define NO_NOTIFY 1    /* used ring's flags */
#define SPINS_BETWEEN_STATUS_READS (1u << 24)

static volatile uint16_t *used_event(const struct virtqueue *queue)
{
    return &queue->available->heads[queue->size];
}

static uint16_t avail_event(const struct virtqueue *queue)
{
    return *(volatile uint16_t *)&queue->used->elements[queue->size];
}

static bool has_event_index(const struct virtqueue *queue)
{
    return queue->device->features & FEATURE_EVENT_IDX;
}

static void write_address(const struct virtio_device *device, uint32_t offset,
                          const volatile void *part)
{
    virtio_write(device, offset, (uint32_t)(uintptr_t)part);
    virtio_write(device, offset + 4, (uint32_t)((uintptr_t)part >> 32));
}

/* One piece of memory for the three parts, at the alignments of section 2.7 (16, 2, 4). */
static bool place(struct virtqueue *queue)
{
    size_t available = sizeof(struct descriptor) * queue->size;
    size_t used = (available + sizeof(uint16_t) * (3U + queue->size) + 63) & ~63UL;
    size_t total = used + sizeof(struct used_element) * queue->size + 3 * sizeof(uint16_t);
    if (!queue->descriptors) {
        queue->descriptors = memory_take(total);
        if (!queue->descriptors)
            return false;
    }
    memset(queue->descriptors, 0, total);
    queue->available = (void *)((char *)queue->descriptors + available);
    queue->used = (void *)((char *)queue->descriptors + used);
    return true;
}

bool queue_start(struct virtqueue *queue, struct virtio_device *device, uint16_t number,
                 uint16_t wanted)
{
    /* 4.2.3.2 steps 1 to 3: select the queue; it must not be in use, and must exist. */
    virtio_write(device, REG_QUEUE_SELECT, number);
    uint32_t max = virtio_read(device, REG_QUEUE_SIZE_MAX);
    if (virtio_read(device, REG_QUEUE_READY) != 0 || max == 0)
        return false;

    /* Step 4: memory for it, zeroed. */
    queue->device = device;
    queue->number = number;
    queue->size = (uint16_t)(max < wanted ? max : wanted);
    queue->offered = queue->published = queue->taken = 0;
    if (!place(queue))
        return false;

    /* Steps 5 to 7: its size, the addresses of its parts, and it is ready. */
    virtio_write(device, REG_QUEUE_SIZE, queue->size);
    write_address(device, REG_QUEUE_DESCRIPTORS, queue->descriptors);
    write_address(device, REG_QUEUE_DRIVER, queue->available);
    write_address(device, REG_QUEUE_DEVICE, queue->used);
    if (!device->interrupts) {
        queue->available->flags = NO_INTERRUPT;
        *used_event(queue) = UINT16_MAX;
    }
    virtio_write(device, REG_QUEUE_READY, 1);
    return true;
}

void queue_offer(struct virtqueue *queue, uint16_t head)
{
    queue->available->heads[queue->offered++ & (queue->size - 1)] = head;
}

void queue_publish(struct virtqueue *queue)
{
    uint16_t before = queue->published, now = queue->offered;
    order_accesses();
    queue->available->index = queue->published = now;
    /* 2.7.13.4.1: the index must be visible before the device's wishes are read. */
    order_store_load();
    /* 2.7.10.1: ring only if the index has passed the one the device waits for. */
    bool ring = has_event_index(queue)
                    ? (uint16_t)(now - avail_event(queue) - 1) < (uint16_t)(now - before)
                    : !(queue->used->flags & NO_NOTIFY);
    if (ring && now != before)
        virtio_write(queue->device, REG_QUEUE_NOTIFY, queue->number);
}

bool queue_take(struct virtqueue *queue, struct used_element *element)
{
    if (!queue_ready(queue))
        return false;
    order_accesses();
    volatile struct used_element *next = &queue->used->elements[queue->taken & (queue->size - 1)];
    element->head = next->head;
    element->length = next->length;
    queue->taken++;
    /* While polling, the index at which an interrupt is wanted stays as far off as possible. */
    if (!queue->device->interrupts)
        *used_event(queue) = (uint16_t)(queue->taken - 1);
    return true;
}

static bool poll(struct virtqueue *queue)
{
    for (unsigned spin = 1; !queue_ready(queue); spin++) {
        cpu_pause();
        if (spin % SPINS_BETWEEN_STATUS_READS == 0 && virtio_needs_reset(queue->device))
            return false;
    }
    return true;
}

bool queue_wait(struct virtqueue *queue)
{
    if (!queue->device->interrupts)
        return poll(queue);
    struct virtio_device *device = queue->device;
    while (!queue_ready(queue)) {
        uint32_t seen = interrupt_count(device->irq);
        if (virtio_acknowledge(device, seen) & EVENT_CONFIG && virtio_needs_reset(device))
            return false;
        /* 2.7.7.2: ask for an interrupt, and only then look whether there is anything left. */
        *used_event(queue) = queue->taken;
        order_store_load();
        if (!queue_ready(queue))
            interrupt_wait(device->irq, seen);
    }
    return true;
}
