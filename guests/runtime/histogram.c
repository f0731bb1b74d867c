#include "histogram.h"

#define STEPS HISTOGRAM_STEPS
#define STEP_BITS 5

static unsigned bucket_of(uint64_t value)
{
    if (value < STEPS)
        return (unsigned)value;
    unsigned shift = 63 - STEP_BITS - (unsigned)__builtin_clzl(value);
    return (shift + 1) * STEPS + (unsigned)(value >> shift) % STEPS;
}

static uint64_t bucket_start(unsigned bucket)
{
    if (bucket < STEPS)
        return bucket;
    return (uint64_t)(STEPS + bucket % STEPS) << (bucket / STEPS - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[bucket_of(value)]++;
    histogram->count++;
    if (value > histogram->longest)
        histogram->longest = value;
}

uint64_t histogram_percentile(const struct histogram *histogram, uint64_t percent)
{
    uint64_t rank = (histogram->count * percent + 99) / 100;
    uint64_t below = histogram->buckets[0];
    unsigned bucket = 0;
    while (below < rank)
        below += histogram->buckets[++bucket];
    return bucket_start(bucket);
}
