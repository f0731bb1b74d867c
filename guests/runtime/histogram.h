/* Durations, counted by size: percentiles without keeping every value. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 32 /* buckets per power of two */

struct histogram {
    uint64_t count, longest;
    uint64_t buckets[64 * HISTOGRAM_STEPS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The value that `percent` of all do not exceed, rounded down by less than 1/32 of it; 0 if there
 * are none. `longest` is exact. */
uint64_t histogram_percentile(const struct histogram *histogram, uint64_t percent);

#endif
