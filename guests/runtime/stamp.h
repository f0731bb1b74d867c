/* Blocks that say what they are, so that a lost, stale, torn or misplaced write shows.
 *
 * A block of 4096 bytes: "SVBLOCK1", then little-endian u64 index, u64 sequence, u64 seed, filler
 * from a generator fed with these three, and in the last 4 bytes the CRC-32 of all before.
 */
#ifndef STAMP_H
#define STAMP_H

#include <stdbool.h>
#include <stdint.h>

#define STAMP_BLOCK 4096
#define STAMP_POISON 0xdeadbeefdeadbeef

/* A bijection on 64 bits in which every bit of the result depends on all of `x`. */
uint64_t mix(uint64_t x);

/* Makes `block` the one with this index that write number `sequence` puts there. */
void stamp_fill(uint8_t *block, uint64_t index, uint64_t sequence, uint64_t seed);

/* A read that brings nothing must not find the right answer left over in its buffer: STAMP_POISON in
 * front of each sector. */
void stamp_poison(uint8_t *block);

enum stamp_finding { STAMP_GOOD, STAMP_ZEROS, STAMP_FOREIGN, STAMP_MISPLACED, STAMP_BROKEN };

/* What `block` is, read at `index`; *sequence is the number of its write if it has a stamp at all.
 * Zeros and the CRC are looked at only if `whole`, else just the words in front. FOREIGN: no
 * stamp of this seed. BROKEN: the CRC is wrong. */
enum stamp_finding stamp_look(const uint8_t *block, uint64_t index, uint64_t seed, bool whole,
                              uint64_t *sequence);

#endif
