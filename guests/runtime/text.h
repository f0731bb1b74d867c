/* Texts that others can make too: to find out whether what was sent is what arrives. */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>
#include <stdint.h>

#define TEXT_ROOM 80

/* A text of 16 to 76 letters, digits, dots and dashes that follow from `number`: with state =
 * mix(number), 16 + 4 * (state mod 16) characters; before each eighth, from the first on, state
 * becomes mix(state + its place), and then a byte of it, from the low end, chooses each. Returns
 * its length. */
size_t text_make(uint64_t number, char *text);

#endif
