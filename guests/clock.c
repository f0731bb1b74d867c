/* The clock behind virtio (virtio 1.4, "RTC Device"), read and printed again and again, in
 * nanoseconds since 1970. Where there is a PC's real-time clock too, it is read between two readings
 * of this one and must lie between them, but for `within=0` seconds. Ends after `reads=2` lines, or
 * when the clock has gone back. With `hostile=1` requests that are none are made first, each of
 * which must be answered as the specification has it. */
#include "arguments.h"
#include "bytes.h"
#include "exit.h"
#include "print.h"
#include "rtc.h"
#include "virtqueue.h"

#include <stdbool.h>
#include <stdint.h>

#define QUEUE_SIZE 8
#define SECOND 1000000000UL
#define ROOM (2U << 20) /* bytes; more than a request's share of what is shared with drivers */

#define READ 0x0001
#define READ_CROSS 0x0002
#define CONFIGURATION 0x1000
#define CLOCK_CAPABILITY 0x1001
#define CROSS_CAPABILITY 0x1002
#define SET_ALARM 0x1004

#define OK 0
#define NOT_SUPPORTED 2
#define NO_CLOCK 3
#define INVALID 4

#define ARM_COUNTER 0
#define TSC 1
#define NO_COUNTER 0xff

#define NOTHING 0xee /* in the answer, where the device has written nothing */

const char guest_name[] = "clock";

struct request {
    uint16_t type;
    uint8_t reserved[6];
    uint16_t clock;
    uint8_t counter, more[5];
};

static struct virtio_device device;
static struct virtqueue queue;
static struct request request;
static uint8_t more_space[4096], answer[ROOM] __attribute__((aligned(8)));

static void start(void)
{
    if (!virtio_find(&device, VIRTIO_CLOCK, 0) ||
        !virtio_negotiate(&device, FEATURE_EVENT_IDX, true) ||
        !queue_start(&queue, &device, 0, QUEUE_SIZE))
        fail("no clock");
    virtio_start(&device);
}

/* Has `readable` bytes of the request, the first of them by themselves if `split`, answered in
 * `writable` bytes; how many were written. */
static uint32_t ask(uint32_t readable, uint32_t split, uint32_t writable)
{
    const struct {
        uintptr_t address;
        uint32_t length;
        uint16_t flags;
    } parts[] = {
        {(uintptr_t)&request, split, 0},
        {(uintptr_t)&request + split,
         (readable < sizeof request ? readable : (uint32_t)sizeof request) - split, 0},
        {(uintptr_t)more_space,
         readable < sizeof request ? 0 : readable - (uint32_t)sizeof request, 0},
        {(uintptr_t)answer, writable, DESCRIPTOR_WRITE},
    };
    uint16_t count = 0;
    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].length) {
            queue.descriptors[count] =
                (struct descriptor){.address = parts[i].address,
                                    .length = parts[i].length,
                                    .flags = parts[i].flags | DESCRIPTOR_NEXT,
                                    .next = (uint16_t)(count + 1)};
            count++;
        }
    queue.descriptors[count - 1].flags &= (uint16_t)~DESCRIPTOR_NEXT;
    memset(answer, NOTHING, writable < 64 ? writable : 64);
    struct used_element done;
    queue_offer(&queue, 0);
    queue_publish(&queue);
    if (!queue_wait(&queue) || !queue_take(&queue, &done))
        fail("the clock needs a reset");
    return done.length;
}

/* A good request; the 8 bytes behind the head of its answer. */
static uint64_t good(uint16_t type)
{
    request = (struct request){.type = type, .counter = type == CROSS_CAPABILITY ? TSC : 0};
    uint32_t written = ask(type == CONFIGURATION ? 8 : sizeof request, 0, 16);
    uint64_t head = *(volatile uint64_t *)answer;
    if (written != 16 || head != OK)
        fail("request %x has %u bytes of answer %lx", type, written, head);
    return *(volatile uint64_t *)(answer + 8);
}

static uint64_t now(void) { return good(READ); }

struct oddity {
    uint32_t readable, split, writable, written;
    struct request request;
    uint8_t status;
};

static const struct oddity oddities[] = {
    {0, 0, 16, 8, {READ, {0}, 0, 0, {0}}, INVALID},       /* no request */
    {1, 0, 16, 8, {READ, {0}, 0, 0, {0}}, INVALID},       /* half a type */
    {7, 0, 16, 8, {0x7777, {0}, 0, 0, {0}}, INVALID},     /* no whole head */
    {8, 0, 16, 8, {READ, {0}, 0, 0, {0}}, INVALID},       /* a head alone */
    {15, 3, 16, 8, {READ, {0}, 0, 0, {0}}, INVALID},      /* a byte too few */
    {16, 3, 16, 16, {READ, {0}, 0, 0, {0}}, OK},          /* in two parts */
    {4112, 1, 16, 16, {READ, {0}, 0, 0, {0}}, OK},        /* longer than it needs to be */
    {16, 0, ROOM, 16, {READ, {0}, 0, 0, {0}}, OK},        /* and much more room */
    {16, 0, 0, 0, {READ, {0}, 0, 0, {0}}, NOTHING},       /* no room */
    {16, 0, 1, 1, {READ, {0}, 0, 0, {0}}, INVALID},       /* room for a status */
    {16, 0, 15, 8, {READ, {0}, 0, 0, {0}}, INVALID},      /* a byte too little */
    {16, 0, 16, 8, {READ, {0}, 1, 0, {0}}, NO_CLOCK},     /* there is one, number 0 */
    {16, 0, 16, 8, {READ, {0}, 0xffff, 0, {0}}, NO_CLOCK},
    {16, 0, 16, 8, {READ, {1}, 0, 0, {0}}, INVALID},      /* reserved bytes */
    {16, 0, 16, 8, {READ, {0}, 0, TSC, {0}}, INVALID},
    {16, 0, 16, 8, {CLOCK_CAPABILITY, {0}, 0, 0, {1}}, INVALID},
    {8, 0, 16, 16, {CONFIGURATION, {0}, 9, 9, {9}}, OK},  /* it ends before them */
    {16, 0, 16, 16, {CONFIGURATION, {0}, 9, 9, {9}}, OK}, /* also if there is more space */
    {16, 0, 16, 16, {CROSS_CAPABILITY, {0}, 0, ARM_COUNTER, {0}}, OK},
    {16, 0, 16, 8, {CROSS_CAPABILITY, {0}, 0, 2, {0}}, NOT_SUPPORTED},
    {16, 0, 16, 8, {CROSS_CAPABILITY, {0}, 0, 0xf0, {0}}, NOT_SUPPORTED},
    {16, 0, 16, 8, {CROSS_CAPABILITY, {0}, 0, NO_COUNTER, {0}}, INVALID},
    {16, 0, 16, 8, {CROSS_CAPABILITY, {0}, 1, TSC, {0}}, NO_CLOCK},
    {16, 0, 24, 8, {READ_CROSS, {0}, 0, TSC, {0}}, NOT_SUPPORTED},
    {16, 0, 23, 8, {READ_CROSS, {0}, 0, TSC, {0}}, INVALID},
    {16, 0, 16, 8, {SET_ALARM, {0}, 0, 0, {0}}, NOT_SUPPORTED},
    {16, 0, 16, 8, {0, {0}, 0, 0, {0}}, NOT_SUPPORTED},
    {8, 0, 16, 8, {0xffff, {0}, 0, 0, {0}}, NOT_SUPPORTED},
};

static void be_hostile(void)
{
    for (unsigned i = 0; i < sizeof oddities / sizeof oddities[0]; i++) {
        const struct oddity *odd = &oddities[i];
        request = odd->request;
        answer[0] = NOTHING;
        uint32_t written = ask(odd->readable, odd->split, odd->writable);
        volatile uint8_t *status = answer;
        if (written != odd->written || *status != odd->status)
            fail("oddity %u has status %u in %u bytes", i, *status, written);
        now();
    }
    /* An answer that would lie outside of memory: no request, but a broken queue. */
    struct used_element done;
    queue.descriptors[0] = (struct descriptor){
        .address = (uintptr_t)answer, .length = UINT32_MAX, .flags = DESCRIPTOR_WRITE};
    queue_offer(&queue, 0);
    queue_publish(&queue);
    if (queue_wait(&queue))
        fail("%u bytes written", queue_take(&queue, &done) ? done.length : 0);
    start();
    print("clock: %lu oddities\n", sizeof oddities / sizeof oddities[0] + 1);
}

int guest_main(void)
{
    uint64_t reads = argument_number("reads", 2), within = argument_number("within", 0);
    bool both = rtc_present();
    start();
    uint64_t count = good(CONFIGURATION), kind = good(CLOCK_CAPABILITY);
    print("clock: clocks %lu type %lx cross %lx\n", count, kind, good(CROSS_CAPABILITY));
    if (argument_number("hostile", 0))
        be_hostile();
    for (uint64_t i = 0, before = 0; i < reads; i++) {
        uint64_t first = now();
        struct rtc_moment moment = {0};
        if (both)
            moment = rtc_read();
        uint64_t then = both ? rtc_seconds(&moment) : 0, last = now();
        if (both)
            print("clock: %lu rtc %lu\n", last, then);
        else
            print("clock: %lu\n", last);
        if (first < before || last < first)
            fail("the clock went back");
        if (both && (then + within < first / SECOND || then > last / SECOND + within))
            fail("the clocks do not agree: %lu, between %lu and %lu", then, first, last);
        before = last;
    }
    return 0;
}
