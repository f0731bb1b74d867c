/* Guest arguments and virtio devices on the command line.
 *
 * An argument is a word `key=value`. A device is announced as Linux, QEMU's microvm and
 * Firecracker have it: `virtio_mmio.device=<size>[K|M]@<base>:<irq>`, once per device.
 */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The value of `key` (the first if given twice), or `fallback`. Decimal, or hexadecimal with 0x;
 * K, M and G multiply. A value that is no number ends the guest with a message. */
uint64_t argument_number(const char *key, uint64_t fallback);

/* The same for text, copied into `buffer`; returns `buffer`. */
const char *argument_text(const char *key, const char *fallback, char *buffer, size_t size);

struct announced_device {
    uint64_t base, size;
    uint32_t irq;
};

/* The device announced as number `index`, counted from 0; false if there are not so many. */
bool announced_device(unsigned index, struct announced_device *device);

#endif
