#include "arguments.h"

#include "bytes.h"
#include "exit.h"
#include "start_info.h"

static bool ends_word(char c) { return c == 0 || c == ' ' || c == '\t' || c == '\n'; }

/* The text after `key=` of its occurrence number `nth`, or NULL. */
static const char *find(const char *key, unsigned nth)
{
    size_t length = strlen(key);
    for (const char *word = command_line(); *word;) {
        if (memcmp(word, key, length) == 0 && word[length] == '=' && nth-- == 0)
            return word + length + 1;
        while (!ends_word(*word))
            word++;
        while (*word && ends_word(*word))
            word++;
    }
    return NULL;
}

/* Reads a number and moves *text behind it; false if there is none. */
static bool parse(const char **text, uint64_t *value)
{
    const char *at = *text;
    unsigned base = 10;
    if (at[0] == '0' && (at[1] == 'x' || at[1] == 'X')) {
        base = 16;
        at += 2;
    }
    const char *first = at;
    for (*value = 0;; at++) {
        char lower = (char)(*at | 0x20);
        unsigned digit = base;
        if (*at >= '0' && *at <= '9')
            digit = (unsigned)(*at - '0');
        else if (lower >= 'a' && lower <= 'f')
            digit = (unsigned)(lower - 'a') + 10;
        if (digit >= base)
            break;
        *value = *value * base + digit;
    }
    if (at == first)
        return false;
    const char *suffixes = "KMG";
    for (unsigned i = 0; i < 3; i++)
        if ((*at & ~0x20) == suffixes[i]) {
            *value <<= 10 * (i + 1);
            at++;
            break;
        }
    *text = at;
    return true;
}

uint64_t argument_number(const char *key, uint64_t fallback)
{
    const char *text = find(key, 0);
    uint64_t value;
    if (!text)
        return fallback;
    if (!parse(&text, &value) || !ends_word(*text))
        fail("argument %s= needs a number", key);
    return value;
}

const char *argument_text(const char *key, const char *fallback, char *buffer, size_t size)
{
    const char *text = find(key, 0);
    if (!text)
        text = fallback;
    size_t length = 0;
    while (length < size - 1 && !ends_word(text[length])) {
        buffer[length] = text[length];
        length++;
    }
    buffer[length] = 0;
    return buffer;
}

bool announced_device(unsigned index, struct announced_device *device)
{
    const char *text = find("virtio_mmio.device", index);
    uint64_t irq;
    if (!text || !parse(&text, &device->size) || *text++ != '@' || !parse(&text, &device->base) ||
        *text++ != ':' || !parse(&text, &irq))
        return false;
    device->irq = (uint32_t)irq;
    return true;
}
