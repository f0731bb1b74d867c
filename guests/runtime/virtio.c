#include "virtio.h"

#include "arguments.h"
#include "interrupts.h"

#define MAGIC 0x74726976 /* "virt" */
#define MODERN 2

bool virtio_find(struct virtio_device *device, uint32_t kind, unsigned nth)
{
    struct announced_device announced;
    for (unsigned i = 0; announced_device(i, &announced); i++) {
        *device = (struct virtio_device){.base = announced.base, .irq = announced.irq};
        if (virtio_read(device, REG_MAGIC) == MAGIC && virtio_read(device, REG_VERSION) == MODERN &&
            virtio_read(device, REG_DEVICE_ID) == kind && nth-- == 0)
            return true;
    }
    return false;
}

static void add_status(const struct virtio_device *device, uint32_t bit)
{
    virtio_write(device, REG_STATUS, virtio_read(device, REG_STATUS) | bit);
}

void virtio_reset(const struct virtio_device *device)
{
    virtio_write(device, REG_STATUS, 0);
    while (virtio_read(device, REG_STATUS) != 0)
        cpu_pause();
}

bool virtio_negotiate(struct virtio_device *device, uint64_t wanted, bool interrupts)
{
    /* 3.1.1 step 1: reset the device. */
    virtio_reset(device);

    /* 3.1.1 steps 2 and 3: the guest has noticed it, and knows how to drive it. */
    add_status(device, STATUS_ACKNOWLEDGE);
    add_status(device, STATUS_DRIVER);

    /* 3.1.1 step 4: read the offered features, write the subset understood. A modern device must
     * be told VERSION_1 (6.1). */
    virtio_write(device, REG_DEVICE_FEATURES_SELECT, 0);
    uint64_t offered = virtio_read(device, REG_DEVICE_FEATURES);
    virtio_write(device, REG_DEVICE_FEATURES_SELECT, 1);
    offered |= (uint64_t)virtio_read(device, REG_DEVICE_FEATURES) << 32;
    device->features = offered & (wanted | FEATURE_VERSION_1);
    virtio_write(device, REG_DRIVER_FEATURES_SELECT, 0);
    virtio_write(device, REG_DRIVER_FEATURES, (uint32_t)device->features);
    virtio_write(device, REG_DRIVER_FEATURES_SELECT, 1);
    virtio_write(device, REG_DRIVER_FEATURES, (uint32_t)(device->features >> 32));

    /* 3.1.1 steps 5 and 6: no more changes; the device says whether it can live with them. */
    add_status(device, STATUS_FEATURES_OK);
    if (!(device->features & FEATURE_VERSION_1) ||
        !(virtio_read(device, REG_STATUS) & STATUS_FEATURES_OK))
        return false;

    device->interrupts = interrupts;
    device->acknowledged = interrupts ? interrupt_count(device->irq) : 0;
    if (interrupts)
        interrupt_enable(device->irq);
    return true;
}

void virtio_start(struct virtio_device *device)
{
    /* 3.1.1 step 8, after the queues of step 7: the device is live. */
    add_status(device, STATUS_DRIVER_OK);
}

bool virtio_needs_reset(const struct virtio_device *device)
{
    return virtio_read(device, REG_STATUS) & STATUS_NEEDS_RESET;
}

static uint32_t take_events(struct virtio_device *device)
{
    /* 4.2.3.4: write back only the bits that were read, so that a later event is not lost. */
    uint32_t events = virtio_read(device, REG_INTERRUPT_STATUS);
    if (events)
        virtio_write(device, REG_INTERRUPT_ACK, events);
    if (events & EVENT_CONFIG)
        device->reconfigured = true;
    return events;
}

uint32_t virtio_acknowledge(struct virtio_device *device, uint32_t count)
{
    if (count == device->acknowledged)
        return 0;
    device->acknowledged = count;
    return take_events(device);
}

bool virtio_reconfigured(struct virtio_device *device)
{
    if (device->interrupts)
        virtio_acknowledge(device, interrupt_count(device->irq));
    else
        take_events(device);
    bool reconfigured = device->reconfigured;
    device->reconfigured = false;
    return reconfigured;
}

uint64_t virtio_config64(const struct virtio_device *device, uint32_t offset)
{
    for (;;) {
        /* 2.5.1: the same generation before and after, or the halves may not belong together. */
        uint32_t generation = virtio_read(device, REG_CONFIG_GENERATION);
        uint64_t low = virtio_read(device, REG_CONFIG + offset);
        uint64_t high = virtio_read(device, REG_CONFIG + offset + 4);
        if (virtio_read(device, REG_CONFIG_GENERATION) == generation)
            return high << 32 | low;
    }
}
