#include "net.h"

#include "bytes.h"
#include "exit.h"
#include "memory.h"

#define VIRTIO_NET 1
#define FEATURE_MTU (1UL << 3)
#define FEATURE_MAC (1UL << 5)
#define FEATURE_MRG_RXBUF (1UL << 15)
#define RECEIVE 0
#define TRANSMIT 1
#define NUM_BUFFERS 10 /* where in the header */
#define OUTPUT (NET_HEADER + NET_FRAME)

static bool problem(struct net_device *net, const char *text)
{
    net->problem = text;
    return false;
}

static void offer(struct net_device *net, uint16_t slot)
{
    net->receive.descriptors[slot] = (struct descriptor){
        .address = (uintptr_t)(net->input + (size_t)slot * net->options.buffer),
        .length = net->options.buffer,
        .flags = DESCRIPTOR_WRITE};
    queue_offer(&net->receive, slot);
}

bool net_start(struct net_device *net, const struct net_options *options)
{
    uint64_t wanted = FEATURE_EVENT_IDX | FEATURE_MAC | FEATURE_MTU |
                      (options->merge ? FEATURE_MRG_RXBUF : 0);
    net->options = *options;
    net->held = -1;
    if (!virtio_find(&net->virtio, VIRTIO_NET, options->number))
        return problem(net, "no network card");
    if (!virtio_negotiate(&net->virtio, wanted, options->interrupts))
        return problem(net, "the card refuses the features");
    if (options->merge && !(net->virtio.features & FEATURE_MRG_RXBUF))
        return problem(net, "the card does not offer mergeable buffers");
    if (!queue_start(&net->receive, &net->virtio, RECEIVE, NET_SLOTS) ||
        !queue_start(&net->transmit, &net->virtio, TRANSMIT, NET_SLOTS) ||
        net->receive.size < NET_SLOTS || net->transmit.size < NET_SLOTS)
        return problem(net, "the card has no usable queues");
    uint64_t config = virtio_config64(&net->virtio, 0);
    memcpy(net->mac, &config, sizeof net->mac);
    if (!(net->virtio.features & FEATURE_MAC))
        memcpy(net->mac, "\x52\x54\x00\x00\x00\x01", sizeof net->mac);
    net->mtu = 1500;
    if (net->virtio.features & FEATURE_MTU)
        net->mtu = (uint16_t)(virtio_config64(&net->virtio, 8) >> 16);
    if (!net->input) {
        net->input = memory_take((size_t)NET_SLOTS * options->buffer);
        net->output = memory_take((size_t)NET_SLOTS * OUTPUT);
        net->assembled = memory_take(NET_FRAME);
    }
    if (!net->input || !net->output || !net->assembled)
        return problem(net, "not enough memory for buffers");
    virtio_start(&net->virtio);
    for (net->vacancies = 0; net->vacancies < NET_SLOTS; net->vacancies++)
        net->vacant[net->vacancies] = (uint16_t)net->vacancies;
    for (uint16_t slot = 0; slot < NET_SLOTS; slot++)
        offer(net, slot);
    queue_publish(&net->receive);
    return true;
}

static void reclaim(struct net_device *net)
{
    struct used_element done;
    while (queue_take(&net->transmit, &done)) {
        if (done.head >= NET_SLOTS || done.length != 0 || net->vacancies == NET_SLOTS)
            fail("the card completed frame %u, length %u", done.head, done.length);
        net->vacant[net->vacancies++] = (uint16_t)done.head;
    }
}

uint8_t *net_room(struct net_device *net)
{
    while (net->vacancies == 0) {
        net_flush(net);
        reclaim(net);
        cpu_pause();
    }
    uint8_t *room = net->output + (size_t)net->vacant[net->vacancies - 1] * OUTPUT;
    memset(room, 0, NET_HEADER);
    return room + NET_HEADER;
}

void net_send(struct net_device *net, uint32_t length)
{
    uint16_t slot = net->vacant[--net->vacancies];
    net->transmit.descriptors[slot] = (struct descriptor){
        .address = (uintptr_t)(net->output + (size_t)slot * OUTPUT), .length = NET_HEADER + length};
    queue_offer(&net->transmit, slot);
}

void net_flush(struct net_device *net)
{
    queue_publish(&net->transmit);
    reclaim(net);
}

/* The next buffer with something in it; ends the guest if it was never offered. */
static const uint8_t *next_part(struct net_device *net, uint16_t *slot, uint32_t *length)
{
    struct used_element done;
    if (!queue_take(&net->receive, &done))
        return NULL;
    if (done.head >= NET_SLOTS || done.length > net->options.buffer)
        fail("the card filled buffer %u with %u bytes", done.head, done.length);
    *slot = (uint16_t)done.head;
    *length = done.length;
    return net->input + (size_t)done.head * net->options.buffer;
}

/* The rest of a frame that came in several buffers, behind what is assembled already. */
static const uint8_t *assemble(struct net_device *net, uint16_t parts, uint32_t *length)
{
    uint16_t slot;
    uint32_t more;
    while (--parts > 0) {
        const uint8_t *part = next_part(net, &slot, &more);
        if (!part)
            fail("a frame came without its last %u buffers", parts);
        if (*length + more > NET_FRAME)
            fail("a frame of more than %u bytes came", NET_FRAME);
        memcpy(net->assembled + *length, part, more);
        *length += more;
        offer(net, slot);
    }
    return net->assembled;
}

const uint8_t *net_take(struct net_device *net, uint32_t *length)
{
    uint16_t slot, parts;
    if (net->held >= 0)
        offer(net, (uint16_t)net->held);
    net->held = -1;
    const uint8_t *buffer = next_part(net, &slot, length);
    if (!buffer) {
        queue_publish(&net->receive);
        return NULL;
    }
    if ((uint16_t)(net->receive.offered - net->receive.published) >= NET_SLOTS / 4)
        queue_publish(&net->receive);
    memcpy(&parts, buffer + NUM_BUFFERS, sizeof parts);
    if (!net->options.merge)
        parts = 1; /* which some devices leave to be guessed */
    if (*length < NET_HEADER || parts == 0)
        fail("the card brought %u bytes in %u buffers", *length, parts);
    *length -= NET_HEADER;
    if (parts == 1) {
        net->held = slot;
        return buffer + NET_HEADER;
    }
    memcpy(net->assembled, buffer + NET_HEADER, *length);
    offer(net, slot);
    return assemble(net, parts, length);
}

bool net_wait(struct net_device *net) { return queue_wait(&net->receive); }
