#include "text.h"

#include "stamp.h"

size_t text_make(uint64_t number, char *text)
{
    static const char alphabet[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    uint64_t state = mix(number);
    size_t length = 16 + (state & 15) * 4;
    for (size_t i = 0; i < length; i++) {
        if (i % 8 == 0)
            state = mix(state + i);
        text[i] = alphabet[state >> i % 8 * 8 & 63];
    }
    text[length] = 0;
    return length;
}
