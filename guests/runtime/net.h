/* A network card: virtio-net (virtio 1.2, section 5.1) without offloads. */
#ifndef NET_H
#define NET_H

#include "virtqueue.h"

#define NET_SLOTS 128        /* buffers in each direction */
#define NET_FRAME 65550      /* bytes of the longest frame */
#define NET_HEADER 12        /* in front of each frame in its buffer */

struct net_options {
    unsigned number;  /* which card */
    uint32_t buffer;  /* bytes of each receive buffer, the header's among them */
    bool merge;       /* a frame may come in several buffers */
    bool interrupts;  /* net_wait halts */
};

struct net_device {
    struct virtio_device virtio;
    struct virtqueue receive, transmit;
    struct net_options options;
    uint8_t mac[6];
    uint16_t mtu;
    uint8_t *input, *output, *assembled;
    uint16_t vacant[NET_SLOTS]; /* to send with */
    unsigned vacancies;
    int held;             /* the receive buffer that the caller looks at, or -1 */
    const char *problem;  /* why a call returned false */
};

bool net_start(struct net_device *net, const struct net_options *options);

/* Where to put the next frame to send; waits until there is room. Then how long it is: */
uint8_t *net_room(struct net_device *net);
void net_send(struct net_device *net, uint32_t length);

/* Makes all that was sent known to the device. */
void net_flush(struct net_device *net);

/* The next frame that has arrived, or NULL; it is the caller's until the next call. */
const uint8_t *net_take(struct net_device *net, uint32_t *length);

/* Waits until one has. False if the card needs a reset. */
bool net_wait(struct net_device *net);

#endif
