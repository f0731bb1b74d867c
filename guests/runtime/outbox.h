/* Lines for the console, handed over piece by piece whenever it is free, so that whoever writes
 * them need not wait while nobody serves the console. All that went through is counted and summed
 * up, for comparison with what arrives. */
#ifndef OUTBOX_H
#define OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

struct outbox_total {
    uint64_t bytes;
    uint32_t crc; /* CRC-32 of all of them */
};

/* Queues a text of at most 255 bytes; waits only if there is no room. */
void outbox_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether half of the room is free. */
bool outbox_roomy(void);

/* Hands over what the console takes at once. */
void outbox_pump(void);

/* Waits until the console has taken everything. */
void outbox_drain(void);

struct outbox_total outbox_total(void);

#endif
