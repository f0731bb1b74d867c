/* CRC-32 as IEEE 802.3 and zlib have it. */
#ifndef CRC32_H
#define CRC32_H

#include <stddef.h>
#include <stdint.h>

void crc32_prepare(void); /* builds the tables; once */

/* `count` is a multiple of 4. */
uint32_t crc32(const void *bytes, size_t count);

/* The CRC of what `crc` is the CRC of, followed by `count` more bytes, however many. */
uint32_t crc32_more(uint32_t crc, const void *bytes, size_t count);

#endif
