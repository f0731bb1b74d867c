/* CRC-32 as IEEE 802.3 and zlib have it. */
#ifndef CRC32_H
#define CRC32_H

#include <stddef.h>
#include <stdint.h>

void crc32_prepare(void); /* builds the tables; once */

/* `count` is a multiple of 4. */
uint32_t crc32(const void *bytes, size_t count);

#endif
