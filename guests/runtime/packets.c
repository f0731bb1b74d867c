#include "packets.h"

#include "arguments.h"
#include "bytes.h"
#include "exit.h"

#define IPV4 0x45 /* and five words of header */
#define IP_HEADER (sizeof(struct ip) - sizeof(struct ethernet))
#define FRAGMENT 0xbf /* all of the field but "may not be fragmented", in memory's order */
#define HOPS 64
#define ETHERNET_HARDWARE 1
#define ECHO 7

uint32_t argument_ip(const char *key, const char *fallback)
{
    char text[20];
    uint32_t ip = 0, part = 0, digits = 0, parts = 0;
    argument_text(key, fallback, text, sizeof text);
    for (const char *next = text;; next++) {
        if (*next >= '0' && *next <= '9') {
            part = part * 10 + (uint32_t)(*next - '0');
            if (++digits > 3 || part > 255)
                break;
        } else if ((*next == '.' || *next == 0) && digits > 0 && parts < 4) {
            ip |= part << 8 * parts++;
            part = digits = 0;
            if (*next == 0 && parts == 4)
                return ip;
            if (*next == 0)
                break;
        } else {
            break;
        }
    }
    fail("%s=%s: an address such as 10.0.0.2", key, text);
}

uint16_t checksum(const void *bytes, size_t count)
{
    const uint8_t *next = bytes;
    uint64_t sum = 0;
    for (; count > 1; count -= 2, next += 2)
        sum += (uint32_t)(next[0] | next[1] << 8);
    if (count)
        sum += next[0];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

void arp_ask(struct arp *arp, const uint8_t *mac, uint32_t ip, uint32_t target)
{
    *arp = (struct arp){.hardware = swap16(ETHERNET_HARDWARE),
                        .protocol = swap16(TYPE_IP),
                        .hardware_length = 6,
                        .protocol_length = 4,
                        .operation = swap16(ARP_REQUEST),
                        .sender_ip = ip,
                        .target_ip = target};
    memset(arp->ethernet.to, 0xff, 6);
    memcpy(arp->ethernet.from, mac, 6);
    arp->ethernet.type = swap16(TYPE_ARP);
    memcpy(arp->sender, mac, 6);
}

bool ip_is_for(const struct ip *packet, uint32_t length, uint32_t ip)
{
    return length >= sizeof *packet && packet->ethernet.type == swap16(TYPE_IP) &&
           packet->version == IPV4 && packet->to == ip && !(packet->fragment & (FRAGMENT | 0xff00)) &&
           swap16(packet->length) >= IP_HEADER &&
           swap16(packet->length) <= length - sizeof packet->ethernet &&
           checksum(&packet->version, IP_HEADER) == 0;
}

void udp_fill(struct udp *udp, uint32_t from, uint32_t to, uint16_t port, uint16_t to_port,
              uint16_t payload)
{
    struct ip *ip = &udp->ip;
    uint16_t length = (uint16_t)(8 + payload);
    ip->ethernet.type = swap16(TYPE_IP);
    ip->version = IPV4;
    ip->service = 0;
    ip->length = swap16((uint16_t)(IP_HEADER + length));
    ip->number = ip->fragment = 0;
    ip->hops = HOPS;
    ip->protocol = PROTOCOL_UDP;
    ip->from = from;
    ip->to = to;
    ip->checksum = 0;
    ip->checksum = checksum(&ip->version, IP_HEADER);
    udp->from = swap16(port);
    udp->to = swap16(to_port);
    udp->length = swap16(length);
    udp->checksum = 0; /* none, which IPv4 allows */
}

static uint32_t answer_arp(struct arp *arp, const uint8_t *mac, uint32_t ip)
{
    if (arp->operation != swap16(ARP_REQUEST) || arp->target_ip != ip)
        return 0;
    arp->operation = swap16(ARP_REPLY);
    memcpy(arp->target, arp->sender, 6);
    arp->target_ip = arp->sender_ip;
    memcpy(arp->sender, mac, 6);
    arp->sender_ip = ip;
    return sizeof *arp;
}

/* Addresses of IP and ports change places, and no checksum changes by that. */
static uint32_t answer_ip(struct ip *ip)
{
    uint32_t length = (uint32_t)sizeof ip->ethernet + swap16(ip->length);
    struct icmp *icmp = (struct icmp *)ip;
    struct udp *udp = (struct udp *)ip;
    if (ip->protocol == PROTOCOL_ICMP && length >= sizeof *icmp && icmp->type == ICMP_REQUEST) {
        icmp->type = ICMP_REPLY;
        icmp->checksum = 0;
        icmp->checksum = checksum(&icmp->type, length - sizeof *ip);
    } else if (ip->protocol == PROTOCOL_UDP && length >= sizeof *udp && udp->to == swap16(ECHO)) {
        udp->to = udp->from;
        udp->from = swap16(ECHO);
    } else {
        return 0;
    }
    uint32_t from = ip->from;
    ip->from = ip->to;
    ip->to = from;
    return length;
}

uint32_t packets_answer(const uint8_t *frame, uint32_t length, uint8_t *answer,
                        const uint8_t *mac, uint32_t ip)
{
    struct ethernet *ethernet = (struct ethernet *)answer;
    uint32_t found = 0;
    if (length < sizeof *ethernet)
        return 0;
    uint16_t type = ((const struct ethernet *)frame)->type;
    if (type == swap16(TYPE_ARP) && length >= sizeof(struct arp)) {
        memcpy(answer, frame, sizeof(struct arp));
        found = answer_arp((struct arp *)answer, mac, ip);
    } else if (ip_is_for((const struct ip *)frame, length, ip)) {
        memcpy(answer, frame, length);
        found = answer_ip((struct ip *)answer);
    }
    memcpy(ethernet->to, ((const struct ethernet *)frame)->from, 6);
    memcpy(ethernet->from, mac, 6);
    return found;
}
