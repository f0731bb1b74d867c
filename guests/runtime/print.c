#include "print.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "console.h"

static char line[256];
static size_t filled;

static void put(char c)
{
    line[filled++] = c;
    if (c == '\n' || filled == sizeof line) {
        console_write(line, filled);
        filled = 0;
    }
}

static void put_text(const char *text, unsigned width)
{
    for (size_t length = strlen(text); length < width; length++)
        put(' ');
    while (*text)
        put(*text++);
}

static void put_number(uint64_t value, unsigned base, unsigned width, char padding)
{
    char digits[20];
    unsigned count = 0;
    do
        digits[count++] = "0123456789abcdef"[value % base];
    while (value /= base);
    while (width-- > count)
        put(padding);
    while (count > 0)
        put(digits[--count]);
}

void print_list(const char *format, va_list arguments)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        format++;
        char padding = *format == '0' ? '0' : ' ';
        unsigned width = 0;
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (unsigned)(*format - '0');
        bool is_long = *format == 'l';
        format += is_long;
        if (*format == 's') {
            put_text(va_arg(arguments, const char *), width);
        } else if (*format == 'c') {
            put((char)va_arg(arguments, int));
        } else if (*format == 'd') {
            int64_t value = is_long ? va_arg(arguments, int64_t) : va_arg(arguments, int32_t);
            if (value < 0)
                put('-');
            put_number(value < 0 ? -(uint64_t)value : (uint64_t)value, 10, width, padding);
        } else if (*format == 'u' || *format == 'x') {
            uint64_t value = is_long ? va_arg(arguments, uint64_t) : va_arg(arguments, uint32_t);
            put_number(value, *format == 'x' ? 16 : 10, width, padding);
        } else {
            put(*format);
        }
    }
}

void print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_list(format, arguments);
    va_end(arguments);
}
