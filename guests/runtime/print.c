#include "print.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "console.h"

static char line[256];
static size_t filled;

struct sink {
    char *at, *end; /* the buffer's free part; NULL for the console */
};

static void put(struct sink *sink, char c)
{
    if (sink->at) {
        if (sink->at < sink->end)
            *sink->at++ = c;
        return;
    }
    line[filled++] = c;
    if (c == '\n' || filled == sizeof line) {
        console_write(line, filled);
        filled = 0;
    }
}

static void put_text(struct sink *sink, const char *text, unsigned width)
{
    for (size_t length = strlen(text); length < width; length++)
        put(sink, ' ');
    while (*text)
        put(sink, *text++);
}

static void put_number(struct sink *sink, uint64_t value, unsigned base, unsigned width,
                       char padding)
{
    char digits[20];
    unsigned count = 0;
    do
        digits[count++] = "0123456789abcdef"[value % base];
    while (value /= base);
    while (width-- > count)
        put(sink, padding);
    while (count > 0)
        put(sink, digits[--count]);
}

static void put_list(struct sink *sink, const char *format, va_list arguments)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(sink, *format);
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
            put_text(sink, va_arg(arguments, const char *), width);
        } else if (*format == 'c') {
            put(sink, (char)va_arg(arguments, int));
        } else if (*format == 'd') {
            int64_t value = is_long ? va_arg(arguments, int64_t) : va_arg(arguments, int32_t);
            if (value < 0)
                put(sink, '-');
            put_number(sink, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, width, padding);
        } else if (*format == 'u' || *format == 'x') {
            uint64_t value = is_long ? va_arg(arguments, uint64_t) : va_arg(arguments, uint32_t);
            put_number(sink, value, *format == 'x' ? 16 : 10, width, padding);
        } else {
            put(sink, *format);
        }
    }
}

void print_list(const char *format, va_list arguments)
{
    put_list(&(struct sink){0}, format, arguments);
}

void format_text(char *buffer, size_t size, const char *format, va_list arguments)
{
    struct sink sink = {.at = buffer, .end = buffer + size - 1};
    put_list(&sink, format, arguments);
    *sink.at = 0;
}

void print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_list(format, arguments);
    va_end(arguments);
}

void print_posted(const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    format_text(text, sizeof text, format, arguments);
    va_end(arguments);
    console_post(text, strlen(text));
}
