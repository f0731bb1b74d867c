/* What may stand in each block: per-block linearizability (Herlihy, Wing 1990), judged online.
 *
 * A block's versions are the writes to it, in the order of submission, which is the order in
 * which overlapping writes take effect; version 0 is what was there before. Two numbers per block
 * suffice, because nothing ever goes back:
 *
 *   floor   the newest version known to have taken effect: its write completed, or a read that
 *           completed has seen it
 *   top     the newest version submitted
 *
 * A read must find at least the floor as it was when the read was submitted, and at most the top
 * as it is when the read completes.
 */
#ifndef VERSIONS_H
#define VERSIONS_H

#include <stdbool.h>
#include <stdint.h>

struct versions {
    uint64_t blocks;
    uint64_t *floor, *top;
};

/* False if memory is short. */
bool versions_start(struct versions *versions, uint64_t blocks);

/* A write was submitted; `version` is above all before. */
void versions_submitted(struct versions *versions, uint64_t block, uint64_t version);

/* A write has completed, or a read that has passed was completed with this version. */
void versions_seen(struct versions *versions, uint64_t block, uint64_t version);

#endif
