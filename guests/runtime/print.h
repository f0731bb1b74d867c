/* Formatted text on the console: %s %c %d %u %x with `l`, a width, and zero padding. */
#ifndef PRINT_H
#define PRINT_H

#include <stdarg.h>
#include <stddef.h>

/* Gathers a line and writes it at once: one request to the console per line. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_list(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));

/* The same, at most 255 bytes, without waiting until the console has taken them. */
void print_posted(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same into a buffer; cut off at its end. */
void format_text(char *buffer, size_t size, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

#endif
