#include "novelty.h"

#include "bytes.h"
#include "stamp.h"

#define KEPT (NOVELTY_ROOM / 4 * 3)

bool novelty_add(struct novelty *novelty, uint64_t number)
{
    if (novelty->count == KEPT)
        memset(novelty, 0, sizeof *novelty);
    uint32_t place = (uint32_t)(mix(number) % NOVELTY_ROOM);
    for (; novelty->numbers[place]; place = (place + 1) % NOVELTY_ROOM)
        if (novelty->numbers[place] == number)
            return false;
    novelty->numbers[place] = number;
    novelty->count++;
    return true;
}
