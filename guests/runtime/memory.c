#include "memory.h"

#include <stdint.h>

#include "bytes.h"
#include "start_info.h"

#define PAGE 4096UL
#define MAPPED (3UL << 30) /* RAM never lies above this, but below 4 GiB */

extern char image_end[];
static uintptr_t next = (uintptr_t)image_end;

/* Where the memory to hand out ends. */
static uintptr_t limit(void)
{
    uint64_t end = memory_end((uintptr_t)image_end);
    return end > MAPPED ? MAPPED : end & ~(PAGE - 1);
}

void *memory_take(size_t size)
{
    uintptr_t end = limit();
    size = (size + PAGE - 1) & ~(PAGE - 1);
    if (next > end || end - next < size)
        return NULL;
    void *taken = (void *)next;
    next += size;
    return memset(taken, 0, size);
}

void *memory_rest(size_t *size)
{
    void *rest = (void *)next;
    *size = limit() - next;
    next = limit();
    return rest;
}
