#include "bytes.h"

#include <stdint.h>

void *memcpy(void *to, const void *from, size_t count)
{
    void *target = to;
    __asm__ volatile("rep movsb" : "+D"(target), "+S"(from), "+c"(count) : : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    if ((uintptr_t)to - (uintptr_t)from >= count)
        return memcpy(to, from, count);
    for (volatile uint8_t *bytes = to; count-- > 0;)
        bytes[count] = ((const uint8_t *)from)[count];
    return to;
}

void *memset(void *to, int byte, size_t count)
{
    void *target = to;
    __asm__ volatile("rep stosb" : "+D"(target), "+c"(count) : "a"(byte) : "memory");
    return to;
}

int memcmp(const void *left, const void *right, size_t count)
{
    const uint8_t *a = left, *b = right;
    for (size_t i = 0; i < count; i++)
        if (a[i] != b[i])
            return a[i] - b[i];
    return 0;
}

size_t strlen(const char *text)
{
    const volatile char *end = text;
    while (*end)
        end++;
    return (size_t)(end - text);
}

bool same_text(const char *left, const char *right)
{
    size_t length = strlen(left);
    return length == strlen(right) && memcmp(left, right, length) == 0;
}
