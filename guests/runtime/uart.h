/* A 16550 at port 0x3f8, interrupt 4. */
#ifndef UART_H
#define UART_H

#include <stdbool.h>
#include <stddef.h>

/* 8 data bits, FIFOs on; `listening`: received bytes interrupt. */
void uart_start(bool listening);

void uart_write(const char *bytes, size_t count);

bool uart_ready(void);

/* Waits for input, halted; returns how many bytes were copied, at least one. */
size_t uart_read(char *bytes, size_t room);

#endif
