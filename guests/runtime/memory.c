#include "memory.h"

#include <stdint.h>

#include "bytes.h"
#include "start_info.h"

#define PAGE 4096UL
#define MAPPED (3UL << 30) /* RAM never lies above this, but below 4 GiB */

extern char image_end[];
static uintptr_t next = (uintptr_t)image_end;

void *memory_take(size_t size)
{
    uint64_t end = memory_end((uintptr_t)image_end);
    if (end > MAPPED)
        end = MAPPED;
    size = (size + PAGE - 1) & ~(PAGE - 1);
    if (next > end || end - next < size)
        return NULL;
    void *taken = (void *)next;
    next += size;
    return memset(taken, 0, size);
}
