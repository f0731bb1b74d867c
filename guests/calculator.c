/* A driver for a device that nobody ships: a calculator, of the id that `id=N` says (42). Each
 * request is two 64-bit numbers, and its answer their sum. The configuration space says what is
 * added to each, so that it is seen that it came through. Ends after `sums=N` right answers. */
#include "arguments.h"
#include "exit.h"
#include "print.h"
#include "virtqueue.h"

#include <stdint.h>

#define QUEUE_SIZE 8

const char guest_name[] = "calculator";

static struct virtio_device device;
static struct virtqueue queue;

static uint64_t sum(uint64_t a, uint64_t b)
{
    static uint64_t question[2], answer;
    struct used_element done;
    question[0] = a;
    question[1] = b;
    answer = 0;
    queue.descriptors[0] = (struct descriptor){.address = (uintptr_t)question,
                                               .length = sizeof question,
                                               .flags = DESCRIPTOR_NEXT,
                                               .next = 1};
    queue.descriptors[1] = (struct descriptor){
        .address = (uintptr_t)&answer, .length = sizeof answer, .flags = DESCRIPTOR_WRITE};
    queue_offer(&queue, 0);
    queue_publish(&queue);
    if (!queue_wait(&queue) || !queue_take(&queue, &done))
        fail("the calculator needs a reset");
    if (done.length != sizeof answer)
        fail("an answer of %u bytes", done.length);
    return *(volatile uint64_t *)&answer;
}

int guest_main(void)
{
    uint32_t id = (uint32_t)argument_number("id", 42);
    uint64_t sums = argument_number("sums", 100);
    if (!virtio_find(&device, id, 0) || !virtio_negotiate(&device, 1, true) ||
        !queue_start(&queue, &device, 0, QUEUE_SIZE))
        fail("no device %u", id);
    virtio_start(&device);
    uint64_t bias = virtio_config64(&device, 0);
    print("calculator: features %lx bias %lu\n", device.features & 0xffffff, bias);
    for (uint64_t i = 0; i < sums; i++) {
        uint64_t found = sum(i, 3 * i);
        if (found != 4 * i + bias)
            fail("%lu + %lu + %lu is %lu", i, 3 * i, bias, found);
    }
    print("calculator: %lu sums\n", sums);
    return 0;
}
