#include "entropy.h"

#include "bytes.h"
#include "exit.h"
#include "virtqueue.h"

#define QUEUE_SIZE 8

static struct virtio_device device;
static struct virtqueue queue;
static uint8_t buffer[4096];

bool entropy_start(void)
{
    if (!virtio_find(&device, VIRTIO_ENTROPY, 0) ||
        !virtio_negotiate(&device, FEATURE_EVENT_IDX, false) ||
        !queue_start(&queue, &device, 0, QUEUE_SIZE))
        return false;
    virtio_start(&device);
    return true;
}

void entropy_read(uint8_t *bytes, uint32_t count)
{
    struct used_element done;
    for (uint32_t filled = 0; filled < count; filled += done.length) {
        queue.descriptors[0] = (struct descriptor){
            .address = (uintptr_t)buffer, .length = count - filled, .flags = DESCRIPTOR_WRITE};
        queue_offer(&queue, 0);
        queue_publish(&queue);
        if (!queue_wait(&queue) || !queue_take(&queue, &done))
            fail("the entropy device needs a reset");
        if (done.head != 0 || done.length == 0 || done.length > count - filled)
            fail("entropy of length %u for request 0, got %u for %u", count - filled, done.length,
                 done.head);
        memcpy(bytes + filled, buffer, done.length);
    }
}
