/* Random disk operations that follow from a seed and their numbers alone, so that whoever knows
 * both can tell what operation n was without having seen it. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include "block.h"

#define WORKLOAD_SPAN 8

struct workload {
    uint64_t seed, key;    /* key: mix(seed) */
    uint64_t blocks, span; /* of the disk; of the largest operation, at most WORKLOAD_SPAN */
    uint64_t writes;       /* percent of all reads and writes */
    uint64_t flush;        /* of each so many operations the last is a flush; 0: none is */
};

struct operation {
    enum block_request kind;
    uint64_t first;
    uint32_t count; /* blocks; 0 for a flush */
};

/* Operation `n`, made of r = mix(key + n): bits 0-7 choose reading or writing, 8-11 whether it is
 * one of the few of more than a block, 12-15 how many, 16-18 whether it is one of the few that go
 * to the first blocks of the disk, so that they overlap a lot, and 32-63 where it begins. */
struct operation workload_at(const struct workload *load, uint64_t n);

const char *workload_name(enum block_request kind);

#endif
