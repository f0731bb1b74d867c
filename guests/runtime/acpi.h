/* The one thing taken from ACPI: which processors there are. */
#ifndef ACPI_H
#define ACPI_H

#include <stddef.h>
#include <stdint.h>

/* Writes the xAPIC ids of the enabled processors in the MADT, at most `room`; returns how many,
 * 0 without ACPI. Reads tables below 4 GiB only. */
size_t acpi_processors(uint8_t *apic_ids, size_t room);

#endif
