/* Eight bytes a step, each through a table of its own (Kounavis and Berry's slicing by 8). */
#include "crc32.h"

#include "bytes.h"

#define POLYNOMIAL 0xedb88320 /* bits reversed */

static uint32_t tables[8][256];

void crc32_prepare(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (unsigned bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
        tables[0][byte] = value;
    }
    for (unsigned i = 1; i < 8; i++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t value = tables[i - 1][byte];
            tables[i][byte] = value >> 8 ^ tables[0][value & 0xff];
        }
}

static uint32_t slice(uint32_t word, unsigned first)
{
    return tables[first + 3][word & 0xff] ^ tables[first + 2][word >> 8 & 0xff] ^
           tables[first + 1][word >> 16 & 0xff] ^ tables[first][word >> 24];
}

uint32_t crc32(const void *bytes, size_t count)
{
    const uint32_t *words = bytes;
    uint32_t value = UINT32_MAX;
    for (; count >= 8; count -= 8, words += 2)
        value = slice(value ^ words[0], 4) ^ slice(words[1], 0);
    if (count >= 4)
        value = slice(value ^ words[0], 0);
    return ~value;
}

uint32_t crc32_more(uint32_t crc, const void *bytes, size_t count)
{
    const uint8_t *next = bytes;
    for (crc = ~crc; count > 0; count--)
        crc = crc >> 8 ^ tables[0][(crc ^ *next++) & 0xff];
    return ~crc;
}
