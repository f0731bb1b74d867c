/* virtio-console, port 0 (virtio 1.2, section 5.3); without MULTIPORT that is the console. */
#ifndef VIRTIO_CONSOLE_H
#define VIRTIO_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

/* Resets and starts the first console; false if there is none that works. `listening`: input
 * buffers are offered, and both directions wait by interrupt. */
bool virtio_console_start(bool listening);

/* Offers input buffers to a console that was started without listening; it goes on polling. */
void virtio_console_accept(void);

void virtio_console_write(const char *bytes, size_t count);

/* Hands over without waiting, at most 512 bytes. */
void virtio_console_post(const char *bytes, size_t count);

/* Whether what was posted has been taken; and waiting until it has. */
bool virtio_console_idle(void);
void virtio_console_settle(void);

bool virtio_console_ready(void);

/* Waits for input; returns how many bytes were copied, at least one. */
size_t virtio_console_read(char *bytes, size_t room);

#endif
