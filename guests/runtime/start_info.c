#include "start_info.h"

#include "bytes.h"

#define MAGIC 0x336ec578
#define USABLE_RAM 1
#define MAX_RANGES 32

struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line, acpi_root;
    uint64_t memory_map; /* this and the rest since version 1 */
    uint32_t memory_map_entries, reserved;
};

struct range {
    uint64_t base, size;
    uint32_t type, reserved;
};

extern uint64_t start_info_address;

static char command[4096];
static struct range ranges[MAX_RANGES];
static uint32_t range_count;
static uint64_t root;

void start_info_read(void)
{
    const struct start_info *info = (const struct start_info *)start_info_address;
    if (info->magic != MAGIC)
        return;
    root = info->acpi_root;
    if (info->command_line) {
        const char *source = (const char *)info->command_line;
        for (size_t i = 0; i < sizeof command - 1 && source[i]; i++)
            command[i] = source[i];
    }
    if (info->version >= 1 && info->memory_map) {
        uint32_t count = info->memory_map_entries;
        range_count = count < MAX_RANGES ? count : MAX_RANGES;
        memcpy(ranges, (const void *)info->memory_map, range_count * sizeof ranges[0]);
    }
}

const char *command_line(void) { return command; }

uint64_t memory_size(void)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < range_count; i++)
        if (ranges[i].type == USABLE_RAM)
            total += ranges[i].size;
    return total;
}

uint64_t memory_end(uint64_t address)
{
    for (uint32_t i = 0; i < range_count; i++)
        if (ranges[i].type == USABLE_RAM && address >= ranges[i].base &&
            address - ranges[i].base < ranges[i].size)
            return ranges[i].base + ranges[i].size;
    return 0;
}

uint64_t acpi_root(void) { return root; }
