/* What the loader tells a PVH guest: command line, memory map, ACPI tables.
 *
 * The structures are those of Xen's public header arch-x86/hvm/start_info.h. They lie wherever
 * the loader put them, so everything is copied before the guest uses memory of its own.
 */
#ifndef START_INFO_H
#define START_INFO_H

#include <stdint.h>

/* Copies the command line and the memory map; the first thing a guest does. */
void start_info_read(void);

/* The whole command line, at most 4095 characters. */
const char *command_line(void);

/* Bytes of RAM in the memory map, 0 if the loader gave none. */
uint64_t memory_size(void);

/* The first address after the RAM that holds `address`, or 0 if no RAM does. */
uint64_t memory_end(uint64_t address);

/* Physical address of the ACPI root pointer, or 0. */
uint64_t acpi_root(void);

#endif
