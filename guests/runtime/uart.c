#include "uart.h"

#include "cpu.h"
#include "interrupts.h"

#define PORT 0x3f8
#define IRQ 4
#define DATA (PORT + 0)
#define INTERRUPT_ENABLE (PORT + 1)
#define FIFO_CONTROL (PORT + 2)
#define LINE_CONTROL (PORT + 3)
#define MODEM_CONTROL (PORT + 4)
#define LINE_STATUS (PORT + 5)

#define DATA_READY 0x01
#define TRANSMITTER_EMPTY 0x20
#define FIFO_BYTES 16

void uart_start(bool listening)
{
    port_out8(LINE_CONTROL, 0x03);                   /* 8 bits, no parity, 1 stop bit */
    port_out8(FIFO_CONTROL, 0x01);                   /* on, interrupt from the first byte */
    port_out8(MODEM_CONTROL, 0x0b);                  /* DTR, RTS, and OUT2: interrupts get out */
    port_out8(INTERRUPT_ENABLE, listening ? 1 : 0);  /* received data */
    if (listening)
        interrupt_enable(IRQ);
}

/* With its FIFO on, an empty transmitter takes 16 bytes; asking once for all saves exits. */
void uart_write(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (i % FIFO_BYTES == 0 && !(port_in8(LINE_STATUS) & TRANSMITTER_EMPTY))
            cpu_pause();
        port_out8(DATA, (uint8_t)bytes[i]);
    }
}

bool uart_ready(void) { return port_in8(LINE_STATUS) & DATA_READY; }

size_t uart_read(char *bytes, size_t room)
{
    for (;;) {
        uint32_t seen = interrupt_count(IRQ);
        size_t count = 0;
        while (count < room && port_in8(LINE_STATUS) & DATA_READY)
            bytes[count++] = (char)port_in8(DATA);
        if (count > 0)
            return count;
        interrupt_wait(IRQ, seen);
    }
}
