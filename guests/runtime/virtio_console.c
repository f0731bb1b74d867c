#include "virtio_console.h"

#include "bytes.h"
#include "exit.h"
#include "virtqueue.h"

#define RECEIVE 0
#define TRANSMIT 1
#define QUEUE_SIZE 16
#define INPUT_BUFFERS 8
#define BUFFER 512

static struct virtio_device device;
static struct virtqueue receive, transmit;
static char input[INPUT_BUFFERS][BUFFER], output[BUFFER];
static struct used_element current; /* the input buffer being read */
static size_t consumed;

static void offer_input(uint16_t number)
{
    receive.descriptors[number] = (struct descriptor){
        .address = (uintptr_t)input[number], .length = BUFFER, .flags = DESCRIPTOR_WRITE};
    queue_offer(&receive, number);
}

bool virtio_console_start(bool listening)
{
    if (!virtio_find(&device, VIRTIO_CONSOLE, 0) ||
        !virtio_negotiate(&device, FEATURE_EVENT_IDX, listening) ||
        !queue_start(&receive, &device, RECEIVE, QUEUE_SIZE) ||
        !queue_start(&transmit, &device, TRANSMIT, QUEUE_SIZE))
        return false;
    virtio_start(&device);
    current.length = 0;
    consumed = 0;
    if (listening)
        virtio_console_accept();
    return true;
}

void virtio_console_accept(void)
{
    for (uint16_t i = 0; i < INPUT_BUFFERS && i < receive.size; i++)
        offer_input(i);
    queue_publish(&receive);
}

bool virtio_console_idle(void)
{
    return transmit.published == transmit.taken || queue_ready(&transmit);
}

void virtio_console_settle(void)
{
    struct used_element done;
    if (transmit.published == transmit.taken)
        return;
    if (!queue_wait(&transmit))
        guest_exit(1); /* a console that is broken cannot say so */
    queue_take(&transmit, &done);
}

void virtio_console_post(const char *bytes, size_t count)
{
    virtio_console_settle();
    memcpy(output, bytes, count);
    transmit.descriptors[0] =
        (struct descriptor){.address = (uintptr_t)output, .length = (uint32_t)count};
    queue_offer(&transmit, 0);
    queue_publish(&transmit);
}

void virtio_console_write(const char *bytes, size_t count)
{
    while (count > 0) {
        size_t part = count < BUFFER ? count : BUFFER;
        virtio_console_post(bytes, part);
        virtio_console_settle();
        bytes += part;
        count -= part;
    }
}

bool virtio_console_ready(void) { return consumed != current.length || queue_ready(&receive); }

size_t virtio_console_read(char *bytes, size_t room)
{
    while (consumed == current.length) {
        if (current.length > 0) {
            offer_input((uint16_t)current.head);
            queue_publish(&receive);
        }
        if (!queue_wait(&receive))
            fail("the console needs a reset");
        queue_take(&receive, &current);
        if (current.head >= INPUT_BUFFERS || current.length > BUFFER)
            fail("console input %u of length %u was never offered", current.head, current.length);
        consumed = 0;
    }
    size_t count = current.length - consumed;
    if (count > room)
        count = room;
    memcpy(bytes, input[current.head] + consumed, count);
    consumed += count;
    return count;
}
