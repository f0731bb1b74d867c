#include "versions.h"

#include "memory.h"

bool versions_start(struct versions *versions, uint64_t blocks)
{
    versions->blocks = blocks;
    versions->floor = memory_take(blocks * sizeof(uint64_t));
    versions->top = memory_take(blocks * sizeof(uint64_t));
    return versions->floor && versions->top;
}

void versions_submitted(struct versions *versions, uint64_t block, uint64_t version)
{
    versions->top[block] = version;
}

void versions_seen(struct versions *versions, uint64_t block, uint64_t version)
{
    if (version > versions->floor[block])
        versions->floor[block] = version;
}
