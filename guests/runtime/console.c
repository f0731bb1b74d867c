#include "console.h"

#include "uart.h"
#include "virtio_console.h"

static bool virtio;
static volatile bool busy;

void console_start(void)
{
    virtio = virtio_console_start(false);
    if (!virtio)
        uart_start(false);
}

void console_listen(void)
{
    if (virtio)
        virtio_console_start(true);
    else
        uart_start(true);
}

bool console_accept(void)
{
    if (virtio)
        virtio_console_accept();
    return virtio;
}

bool console_idle(void) { return !virtio || virtio_console_idle(); }

void console_settle(void)
{
    if (virtio)
        virtio_console_settle();
}

void console_write(const char *bytes, size_t count)
{
    busy = true;
    if (virtio)
        virtio_console_write(bytes, count);
    else
        uart_write(bytes, count);
    busy = false;
}

void console_post(const char *bytes, size_t count)
{
    if (virtio)
        virtio_console_post(bytes, count);
    else
        uart_write(bytes, count);
}

bool console_ready(void) { return virtio ? virtio_console_ready() : uart_ready(); }

size_t console_read(char *bytes, size_t room)
{
    return virtio ? virtio_console_read(bytes, room) : uart_read(bytes, room);
}

void console_after_exception(void)
{
    if (busy && virtio) {
        virtio = false;
        uart_start(false);
    }
}
