/* Has this number been here before? A set of a fixed size that starts anew when it is nearly full,
 * so that it notices what comes again within some 50,000 numbers. */
#ifndef NOVELTY_H
#define NOVELTY_H

#include <stdbool.h>
#include <stdint.h>

#define NOVELTY_ROOM (1u << 16)

struct novelty {
    uint64_t numbers[NOVELTY_ROOM]; /* 0: free */
    uint64_t count;
};

/* False if `number`, which is not 0, is there already. */
bool novelty_add(struct novelty *novelty, uint64_t number);

#endif
