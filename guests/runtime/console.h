/* The guest's console: the first virtio-console if there is one, else the 16550 at 0x3f8. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

/* Finds the console. Output polls; nothing is read yet. Without a console, output vanishes. */
void console_start(void);

/* Starts it again for reading: from here on both directions wait by interrupt. */
void console_listen(void);

/* The same without interrupts: input is taken, and console_ready is to be asked for it. False if
 * asking is not cheap, which it is not where a UART has to be read. */
bool console_accept(void);

/* Returns when the device has taken it. */
void console_write(const char *bytes, size_t count);

/* The same, but returns as soon as it is handed over; waits for what was posted before. */
void console_post(const char *bytes, size_t count);

/* Whether console_post would return at once; and waiting until it would. */
bool console_idle(void);
void console_settle(void);

/* Whether console_read would return at once. */
bool console_ready(void);

/* Waits for input; returns how many bytes were copied, at least one, at most `room`. */
size_t console_read(char *bytes, size_t room);

/* Output may have been interrupted in the middle: take the UART if so. */
void console_after_exception(void);

#endif
