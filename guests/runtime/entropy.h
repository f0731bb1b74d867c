/* virtio-rng (virtio 1.2, section 5.4). */
#ifndef ENTROPY_H
#define ENTROPY_H

#include <stdbool.h>
#include <stdint.h>

/* Starts the first entropy device; false if there is none. */
bool entropy_start(void);

/* Fills `bytes` (at most 4096 of them), in as many requests as the device takes. */
void entropy_read(uint8_t *bytes, uint32_t count);

/* The same without waiting: asks for `count` bytes, and later, once it says true, has filled
 * `bytes` with the *count bytes that came. One at a time. */
void entropy_ask(uint32_t count);
bool entropy_take(uint8_t *bytes, uint32_t *count);

#endif
