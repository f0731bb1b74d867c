/* Ethernet, ARP, IPv4, ICMP and UDP as they stand in a frame. */
#ifndef PACKETS_H
#define PACKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TYPE_IP 0x0800
#define TYPE_ARP 0x0806
#define ARP_REQUEST 1
#define ARP_REPLY 2
#define PROTOCOL_ICMP 1
#define PROTOCOL_UDP 17
#define ICMP_REPLY 0
#define ICMP_REQUEST 8

struct ethernet {
    uint8_t to[6], from[6];
    uint16_t type; /* this and all other numbers are big-endian: see swap16 */
} __attribute__((packed));

struct arp {
    struct ethernet ethernet;
    uint16_t hardware, protocol;
    uint8_t hardware_length, protocol_length;
    uint16_t operation;
    uint8_t sender[6];
    uint32_t sender_ip;
    uint8_t target[6];
    uint32_t target_ip;
} __attribute__((packed));

struct ip {
    struct ethernet ethernet;
    uint8_t version, service;
    uint16_t length, number, fragment;
    uint8_t hops, protocol;
    uint16_t checksum;
    uint32_t from, to;
} __attribute__((packed));

struct icmp {
    struct ip ip;
    uint8_t type, code;
    uint16_t checksum;
} __attribute__((packed));

struct udp {
    struct ip ip;
    uint16_t from, to, length, checksum;
} __attribute__((packed));

static inline uint16_t swap16(uint16_t value) { return (uint16_t)(value << 8 | value >> 8); }

/* Numbers and dots on the command line, as they stand in a frame; ends the guest otherwise. */
uint32_t argument_ip(const char *key, const char *fallback);

/* The Internet checksum (RFC 1071) of some bytes; 0 over bytes that hold their right checksum. */
uint16_t checksum(const void *bytes, size_t count);

/* Who has `target`? To everybody. */
void arp_ask(struct arp *arp, const uint8_t *mac, uint32_t ip, uint32_t target);

/* Whether a frame is a whole IPv4 packet to `ip`, with nothing wrong and no fragment; options are
 * not known. */
bool ip_is_for(const struct ip *packet, uint32_t length, uint32_t ip);

/* Everything but the payload and addresses of Ethernet, which stand there already. */
void udp_fill(struct udp *udp, uint32_t from, uint32_t to, uint16_t port, uint16_t to_port,
              uint16_t payload);

/* Makes the answer to a frame for us in `answer`, in which there is room for one as long: to ARP
 * requests, ICMP echo requests, and datagrams to UDP port 7. Its length, or 0. */
uint32_t packets_answer(const uint8_t *frame, uint32_t length, uint8_t *answer,
                        const uint8_t *mac, uint32_t ip);

#endif
