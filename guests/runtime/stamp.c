#include "stamp.h"

#include "crc32.h"

#define MAGIC 0x314b434f4c425653 /* "SVBLOCK1" */
#define CRC_OFFSET (STAMP_BLOCK - 4)
#define SECTOR 512

struct stamp {
    uint64_t magic, index, sequence, seed;
};

uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15;
    x = (x ^ x >> 29) * 0xd1342543de82ef95;
    return x ^ x >> 32;
}

void stamp_fill(uint8_t *block, uint64_t index, uint64_t sequence, uint64_t seed)
{
    *(struct stamp *)block = (struct stamp){MAGIC, index, sequence, seed};
    uint64_t state = mix(seed ^ mix(index ^ mix(sequence))) | 1;
    for (unsigned at = sizeof(struct stamp); at < STAMP_BLOCK; at += 8) {
        state ^= state << 13; /* Marsaglia's xorshift */
        state ^= state >> 7;
        state ^= state << 17;
        *(uint64_t *)(block + at) = state;
    }
    *(uint32_t *)(block + CRC_OFFSET) = crc32(block, CRC_OFFSET);
}

void stamp_poison(uint8_t *block)
{
    for (unsigned at = 0; at < STAMP_BLOCK; at += SECTOR)
        *(uint64_t *)(block + at) = STAMP_POISON;
}

static bool zeros(const uint8_t *block, unsigned bytes)
{
    for (unsigned at = 0; at < bytes; at += 8)
        if (*(const uint64_t *)(block + at))
            return false;
    return true;
}

enum stamp_finding stamp_look(const uint8_t *block, uint64_t index, uint64_t seed, bool whole,
                              uint64_t *sequence)
{
    const struct stamp *stamp = (const struct stamp *)block;
    *sequence = stamp->sequence;
    if (stamp->magic == 0 && zeros(block, whole ? STAMP_BLOCK : sizeof *stamp))
        return STAMP_ZEROS;
    if (stamp->magic != MAGIC || stamp->seed != seed)
        return STAMP_FOREIGN;
    if (stamp->index != index)
        return STAMP_MISPLACED;
    if (whole && crc32(block, CRC_OFFSET) != *(const uint32_t *)(block + CRC_OFFSET))
        return STAMP_BROKEN;
    return STAMP_GOOD;
}
