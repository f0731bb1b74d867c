/* Two ends of a network, to find out what becomes of frames between them.
 *
 * mode=echo answers for ever: ARP, ICMP echo requests, datagrams to UDP port 7; halted in between.
 * mode=ping sends datagrams to a UDP echo service, `depth` of them out at a time, and judges what
 * comes back. A datagram says its number and has a CRC-32 of all of it, so one that is lost,
 * doubled, broken or overtaken shows. What has not come back when nothing came for `patience` is
 * lost, unless it comes `late`. Doubled: it had come before. Reordered: it came for the first time
 * when a later one had come already.
 *
 *   net: ready <mac> mtu <n>
 *   net: start                      the peer was found
 *   net: at <received>              once a second
 *   net: result sent=.. received=.. lost=.. late=.. doubled=.. most=.. reordered=.. broken=.. us=..
 *   net: PASS | FAIL                nothing broken, nothing reordered (unless reorder=1), and at
 *                                   least one came; `most`: how often one came at most
 *
 * Arguments: mode=echo ip=10.0.0.2 device=0 buffer=2048 merge=0; of ping peer=10.0.0.1 port=7
 * count=1000 size=64 (bytes of UDP payload, a multiple of 4) depth=32 patience=1000 (ms) reorder=0
 * and hz=2000000000, the rate of the time-stamp counter.
 */
#include "arguments.h"
#include "bytes.h"
#include "crc32.h"
#include "exit.h"
#include "memory.h"
#include "net.h"
#include "packets.h"
#include "print.h"

#define PORT 4000
#define MIN_SIZE 16
#define MAX_SIZE (65535 - 28)
#define MAGIC 0x474e4950 /* "PING" */

const char guest_name[] = "net";

enum state { UNSENT, OUT, GIVEN_UP, CAME }; /* and above CAME: came more often */

struct payload {
    uint32_t magic, number;
    uint32_t filler[]; /* the last word is the CRC */
};

static struct net_device net;
static uint32_t ip, peer, size;
static uint16_t port;
static uint8_t peer_mac[6];
static bool peer_known;
static uint8_t *states;
static uint64_t total, depth, patience, hz;
static uint64_t sent, settled, received, lost, late, doubled, reordered, broken, latest, last_news;
static unsigned most;

/* What everybody owes to others. */
static bool answer(const uint8_t *frame, uint32_t length)
{
    uint32_t found = packets_answer(frame, length, net_room(&net), net.mac, ip);
    if (found)
        net_send(&net, found);
    return found;
}

static int echo(void)
{
    for (;;) {
        uint32_t length;
        const uint8_t *frame = net_take(&net, &length);
        if (frame) {
            answer(frame, length);
            continue;
        }
        net_flush(&net);
        if (!net_wait(&net))
            fail("the card needs a reset");
    }
}

static uint32_t filler(uint32_t number, uint32_t i) { return (number + 1) * 0x9e3779b1 + i; }

static void send(uint32_t number)
{
    struct udp *udp = (struct udp *)net_room(&net);
    struct payload *payload = (struct payload *)(udp + 1);
    uint32_t words = size / 4 - 3;
    memcpy(udp->ip.ethernet.to, peer_mac, 6);
    memcpy(udp->ip.ethernet.from, net.mac, 6);
    udp_fill(udp, ip, peer, PORT, port, (uint16_t)size);
    payload->magic = MAGIC;
    payload->number = number;
    for (uint32_t i = 0; i < words; i++)
        payload->filler[i] = filler(number, i);
    payload->filler[words] = crc32(payload, size - 4);
    states[number] = OUT;
    net_send(&net, (uint32_t)sizeof *udp + size);
}

static void came(uint32_t number)
{
    uint8_t *state = &states[number];
    if (*state >= CAME) {
        doubled++;
        if (*state < UINT8_MAX)
            ++*state;
    } else {
        if (*state == OUT)
            settled++;
        else
            late++;
        received++;
        reordered += number < latest;
        latest = number > latest ? number : latest;
        *state = CAME;
    }
    unsigned times = *state - CAME + 1U;
    most = times > most ? times : most;
}

/* Whether a frame is for the one who pings; then it is judged. */
static bool judge(const uint8_t *frame, uint32_t length)
{
    const struct udp *udp = (const struct udp *)frame;
    const struct payload *payload = (const struct payload *)(udp + 1);
    if (!ip_is_for(&udp->ip, length, ip) || udp->ip.protocol != PROTOCOL_UDP ||
        length < sizeof *udp || udp->to != swap16(PORT))
        return false;
    if (udp->length != swap16((uint16_t)(size + 8)) || length < sizeof *udp + size ||
        payload->magic != MAGIC || payload->number >= sent ||
        payload->filler[size / 4 - 3] != crc32(payload, size - 4))
        broken++;
    else
        came(payload->number);
    return true;
}

static void meet(const uint8_t *frame, uint32_t length)
{
    const struct arp *arp = (const struct arp *)frame;
    if (length >= sizeof *arp && arp->ethernet.type == swap16(TYPE_ARP) &&
        arp->operation == swap16(ARP_REPLY) && arp->sender_ip == peer) {
        memcpy(peer_mac, arp->sender, 6);
        peer_known = true;
    }
}

/* Deals with all frames that are there; whether there were any for us. */
static bool listen(void)
{
    bool news = false;
    uint32_t length;
    for (const uint8_t *frame; (frame = net_take(&net, &length));) {
        if (judge(frame, length))
            news = true;
        else if (!answer(frame, length))
            meet(frame, length);
    }
    net_flush(&net);
    return news;
}

static bool quiet_for(uint64_t span) { return cycles() - last_news > span; }

static void find_peer(void)
{
    for (last_news = cycles() - patience - 1; !peer_known; listen()) {
        if (!quiet_for(patience)) {
            cpu_pause();
            continue;
        }
        arp_ask((struct arp *)net_room(&net), net.mac, ip, peer);
        net_send(&net, sizeof(struct arp));
        last_news = cycles();
    }
}

static void give_up(void)
{
    for (uint64_t i = 0; i < sent; i++)
        if (states[i] == OUT) {
            states[i] = GIVEN_UP;
            settled++;
        }
}

static void run(void)
{
    uint64_t began = cycles(), second = 0;
    last_news = began;
    while (settled < total) {
        for (; sent < total && sent - settled < depth; sent++)
            send((uint32_t)sent);
        net_flush(&net);
        if (listen())
            last_news = cycles();
        else if (quiet_for(patience)) {
            give_up();
            last_news = cycles();
        } else
            cpu_pause();
        if (cycles() - began >= (second + 1) * hz) {
            second++;
            print("net: at %lu\n", received);
        }
    }
}

static int ping(void)
{
    total = argument_number("count", 1000);
    depth = argument_number("depth", 32);
    size = (uint32_t)argument_number("size", 64);
    peer = argument_ip("peer", "10.0.0.1");
    port = (uint16_t)argument_number("port", 7);
    hz = argument_number("hz", 2000000000);
    patience = argument_number("patience", 1000) * (hz / 1000);
    if (size < MIN_SIZE || size > MAX_SIZE || size % 4)
        fail("size=%u: a multiple of 4 from %u to %u", size, MIN_SIZE, MAX_SIZE);
    if (depth == 0 || total == 0 || total > UINT32_MAX || !(states = memory_take(total)))
        fail("count=%lu depth=%lu: too little, or too much for the memory", total, depth);
    crc32_prepare();
    find_peer();
    print("net: start\n");
    uint64_t began = cycles();
    run();
    uint64_t took = (cycles() - began) / (hz / 1000000);
    while (!quiet_for(patience / 4)) /* what comes too often comes now */
        listen();
    lost = total - received;
    print("net: result sent=%lu received=%lu lost=%lu late=%lu doubled=%lu most=%u reordered=%lu "
          "broken=%lu us=%lu\n", sent, received, lost, late, doubled, most, reordered, broken, took);
    bool good = received && !broken && (!reordered || argument_number("reorder", 0));
    print(good ? "net: PASS\n" : "net: FAIL\n");
    return !good;
}

int guest_main(void)
{
    char mode[8];
    argument_text("mode", "echo", mode, sizeof mode);
    bool pings = same_text(mode, "ping");
    if (!pings && !same_text(mode, "echo"))
        fail("mode=%s: echo or ping", mode);
    struct net_options options = {
        .number = (unsigned)argument_number("device", 0),
        .buffer = (uint32_t)argument_number("buffer", 2048),
        .merge = argument_number("merge", 0),
        .interrupts = !pings,
    };
    ip = argument_ip("ip", "10.0.0.2");
    if (!net_start(&net, &options))
        fail("%s", net.problem);
    const uint8_t *mac = net.mac;
    print("net: ready %02x:%02x:%02x:%02x:%02x:%02x mtu %u\n", mac[0], mac[1], mac[2], mac[3],
          mac[4], mac[5], net.mtu);
    return pings ? ping() : echo();
}
