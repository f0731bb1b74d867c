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

void entropy_ask(uint32_t count)
{
    memset(buffer, 0, count);
    queue.descriptors[0] = (struct descriptor){
        .address = (uintptr_t)buffer, .length = count, .flags = DESCRIPTOR_WRITE};
    queue_offer(&queue, 0);
    queue_publish(&queue);
}

bool entropy_take(uint8_t *bytes, uint32_t *count)
{
    struct used_element done;
    uint32_t asked = queue.descriptors[0].length;
    if (!queue_take(&queue, &done))
        return false;
    if (done.head != 0 || done.length == 0 || done.length > asked)
        fail("entropy of length %u for request 0, got %u for %u", asked, done.length, done.head);
    memcpy(bytes, buffer, done.length);
    *count = done.length;
    return true;
}

void entropy_read(uint8_t *bytes, uint32_t count)
{
    for (uint32_t filled = 0, got; filled < count; filled += got) {
        entropy_ask(count - filled);
        if (!queue_wait(&queue) || !entropy_take(bytes + filled, &got))
            fail("the entropy device needs a reset");
    }
}
