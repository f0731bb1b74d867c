/* The virtio-mmio transport, version 2 (virtio 1.2, section 4.2). */
#ifndef VIRTIO_H
#define VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu.h"

#define VIRTIO_BLOCK 2
#define VIRTIO_CONSOLE 3
#define VIRTIO_ENTROPY 4
#define VIRTIO_CLOCK 17

#define FEATURE_INDIRECT (1UL << 28)
#define FEATURE_EVENT_IDX (1UL << 29)
#define FEATURE_VERSION_1 (1UL << 32)

/* Registers, section 4.2.2. */
#define REG_MAGIC 0x000
#define REG_VERSION 0x004
#define REG_DEVICE_ID 0x008
#define REG_DEVICE_FEATURES 0x010
#define REG_DEVICE_FEATURES_SELECT 0x014
#define REG_DRIVER_FEATURES 0x020
#define REG_DRIVER_FEATURES_SELECT 0x024
#define REG_QUEUE_SELECT 0x030
#define REG_QUEUE_SIZE_MAX 0x034
#define REG_QUEUE_SIZE 0x038
#define REG_QUEUE_READY 0x044
#define REG_QUEUE_NOTIFY 0x050
#define REG_INTERRUPT_STATUS 0x060
#define REG_INTERRUPT_ACK 0x064
#define REG_STATUS 0x070
#define REG_QUEUE_DESCRIPTORS 0x080
#define REG_QUEUE_DRIVER 0x090
#define REG_QUEUE_DEVICE 0x0a0
#define REG_CONFIG_GENERATION 0x0fc
#define REG_CONFIG 0x100

/* Device status, section 2.1. */
#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define STATUS_FEATURES_OK 8
#define STATUS_NEEDS_RESET 64

/* Interrupt status, section 4.2.2. */
#define EVENT_USED 1
#define EVENT_CONFIG 2

struct virtio_device {
    uintptr_t base;
    uint32_t irq;
    uint64_t features;     /* as negotiated */
    bool interrupts;       /* wait by interrupt instead of polling */
    uint32_t acknowledged; /* interrupt count up to which the device has been told */
    bool reconfigured;     /* as announced, and not asked about yet */
};

/* Finds device number `nth` of a kind, in the order of the command line. */
bool virtio_find(struct virtio_device *device, uint32_t kind, unsigned nth);

/* Resets and negotiates VERSION_1 and what of `wanted` is offered. False if the device will not.
 * With `interrupts` its pin is enabled. Queues come next, then virtio_start. */
bool virtio_negotiate(struct virtio_device *device, uint64_t wanted, bool interrupts);

/* The driver is ready; the device may use its queues from here on. */
void virtio_start(struct virtio_device *device);

void virtio_reset(const struct virtio_device *device);
bool virtio_needs_reset(const struct virtio_device *device);

/* Tells the device that its interrupts up to `count` have been noticed. Returns what they were
 * for: EVENT_USED, EVENT_CONFIG (which is also how it asks for a reset), or 0 if all were known. */
uint32_t virtio_acknowledge(struct virtio_device *device, uint32_t count);

/* Whether the device has announced since the last call that its configuration has changed: by an
 * interrupt if it was negotiated so. */
bool virtio_reconfigured(struct virtio_device *device);

/* A 64-bit field of the configuration space, read in one generation of it. */
uint64_t virtio_config64(const struct virtio_device *device, uint32_t offset);

static inline uint32_t virtio_read(const struct virtio_device *device, uint32_t offset)
{
    return device_read32(device->base + offset);
}

static inline void virtio_write(const struct virtio_device *device, uint32_t offset, uint32_t v)
{
    device_write32(device->base + offset, v);
}

#endif
