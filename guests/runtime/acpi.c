#include "acpi.h"

#include "bytes.h"
#include "start_info.h"

#define LOCAL_APIC_ENTRY 0
#define ENABLED 1
#define MADT_ENTRIES 44 /* offset of the first */

struct root_pointer { /* ACPI 6.5, 5.2.5.3 */
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
} __attribute__((packed));

struct table { /* ACPI 6.5, 5.2.6 */
    char signature[4];
    uint32_t length;
    char rest[28];
    uint8_t body[];
} __attribute__((packed));

struct local_apic_entry { /* ACPI 6.5, 5.2.12.2 */
    uint8_t type, length, processor, apic_id;
    uint32_t flags;
} __attribute__((packed));

static const struct table *mapped(uint64_t address)
{
    return address != 0 && address >> 32 == 0 ? (const struct table *)address : NULL;
}

static const struct table *find_madt(void)
{
    const struct root_pointer *root = (const struct root_pointer *)mapped(acpi_root());
    if (!root || memcmp(root->signature, "RSD PTR ", 8) != 0)
        return NULL;
    size_t width = root->revision >= 2 && root->xsdt ? 8 : 4;
    const struct table *list = mapped(width == 8 ? root->xsdt : root->rsdt);
    for (size_t at = 0; list && sizeof *list + at + width <= list->length; at += width) {
        uint64_t address = 0;
        memcpy(&address, list->body + at, width);
        const struct table *table = mapped(address);
        if (table && memcmp(table->signature, "APIC", 4) == 0)
            return table;
    }
    return NULL;
}

size_t acpi_processors(uint8_t *apic_ids, size_t room)
{
    const struct table *madt = find_madt();
    size_t count = 0;
    for (uint32_t at = MADT_ENTRIES; madt && at + 2 <= madt->length && count < room;) {
        const struct local_apic_entry *entry = (const void *)((const char *)madt + at);
        if (entry->length < 2)
            break;
        if (entry->type == LOCAL_APIC_ENTRY && entry->flags & ENABLED)
            apic_ids[count++] = entry->apic_id;
        at += entry->length;
    }
    return count;
}
