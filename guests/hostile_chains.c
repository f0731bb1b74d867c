/* A guest whose requests name memory that is not its own, or are not requests at all.
 *
 * Descriptor chains (virtio 1.2, 2.7.5) that a device must refuse, and chains that it may serve or
 * refuse; after each the disk must work. The arguments are mode= (all of the table at the end),
 * device=0, and rom=0xc0000000, where the guest has a ROM or nothing.
 */
#include "arguments.h"
#include "bytes.h"
#include "layout.h"
#include "start_info.h"
#include "trial.h"

#define LONG_CHAIN 2048 /* descriptors; longer than any queue */
#define MIB (1UL << 20)
#define ELSEWHERE 0xdf000000 /* no memory and no device */

const char guest_name[] = "hostile_chains";

static struct descriptor table[LONG_CHAIN] __attribute__((aligned(4096)));

static uint64_t ram_end(void) { return memory_end((uintptr_t)table); }

/* In the place of the header, the buffer (that the device reads, or writes), the status. */
static void refused_everywhere(uint64_t address, uint32_t length)
{
    for (unsigned place = 0; place < 4; place++) {
        struct descriptor *chain = trial_chain(0);
        struct descriptor *changed = &chain[place < 3 ? place : 1];
        changed->address = address;
        changed->length = length;
        if (place == 3)
            changed->flags = DESCRIPTOR_NEXT;
        trial_refused(0);
    }
}

/* Addresses that are memory in a larger guest. */
static void neighbour(void)
{
    uint64_t end = ram_end();
    refused_everywhere(end, TRIAL_BLOCK);
    refused_everywhere(end + MIB, 1);
    refused_everywhere(end + end / 2, TRIAL_BLOCK);
    refused_everywhere(1UL << 32, TRIAL_BLOCK);
}

static void registers(void)
{
    refused_everywhere(LOCAL_APIC, 4);
    refused_everywhere(IO_APIC, TRIAL_BLOCK);
    refused_everywhere(trial_disk.virtio.base, TRIAL_BLOCK);
    refused_everywhere(ELSEWHERE, 16);
}

static void rom(void)
{
    uint64_t at = argument_number("rom", 0xc0000000);
    refused_everywhere(at, 1);
    refused_everywhere(at, TRIAL_BLOCK);
    refused_everywhere(at - 1, 2);
}

static void straddle(void)
{
    uint64_t end = ram_end();
    refused_everywhere(end - 1, 2);
    refused_everywhere(end - TRIAL_BLOCK, TRIAL_BLOCK + 1);
    refused_everywhere(0, UINT32_MAX);
    refused_everywhere((uintptr_t)table, UINT32_MAX);
    struct descriptor *chain = trial_chain(0);
    chain[1].address = end - TRIAL_BLOCK;
    trial_survived(0); /* the last page is the guest's own */
}

static void wrap(void)
{
    refused_everywhere(UINT64_MAX, 1);
    refused_everywhere(UINT64_MAX, UINT32_MAX);
    refused_everywhere(-(uint64_t)TRIAL_BLOCK, TRIAL_BLOCK);
    refused_everywhere(-(uint64_t)TRIAL_BLOCK, 2 * TRIAL_BLOCK);
    refused_everywhere(1UL << 63, TRIAL_BLOCK);
}

static void loops(void)
{
    for (uint16_t back = 0; back < 3; back++)
        for (uint16_t from = back; from < 3; from++) {
            struct descriptor *chain = trial_chain(0);
            for (unsigned i = 0; i < 3; i++)
                chain[i].flags = DESCRIPTOR_NEXT;
            chain[from].next = back;
            trial_refused(0);
        }
    trial_chain(0)[0].next = trial_disk.queue.size;
    trial_refused(0);
    trial_chain(0)[1].next = UINT16_MAX;
    trial_refused(0);
    trial_chain(0)[2].flags = DESCRIPTOR_NEXT; /* readable after writable */
    trial_refused(0);
}

/* More descriptors than the queue has; more bytes than the guest has. */
static void too_long(void)
{
    for (uint16_t i = 0; i < LONG_CHAIN; i++)
        table[i] = (struct descriptor){.address = (uintptr_t)block_buffer(&trial_disk, 0),
                                       .length = 1,
                                       .flags = DESCRIPTOR_NEXT,
                                       .next = (uint16_t)(i + 1)};
    table[LONG_CHAIN - 1].flags = 0;
    *trial_chain(0) = (struct descriptor){
        .address = (uintptr_t)table, .length = sizeof table, .flags = DESCRIPTOR_INDIRECT};
    trial_refused(0);

    uint16_t size = trial_disk.queue.size;
    for (uint16_t i = 0; i < size; i++)
        trial_disk.queue.descriptors[i] = (struct descriptor){
            .length = (uint32_t)ram_end(), .flags = DESCRIPTOR_NEXT, .next = (uint16_t)(i + 1)};
    trial_disk.queue.descriptors[size - 1].flags = 0;
    trial_refused(0);
}

/* A good request in the table; the caller spoils it or what points to it. */
static struct descriptor *indirect(void)
{
    memcpy(table, trial_chain(1), 3 * sizeof table[0]);
    table[0].next = 1;
    table[1].next = 2;
    struct descriptor *first = trial_chain(0);
    *first = (struct descriptor){.address = (uintptr_t)table,
                                 .length = 3 * sizeof table[0],
                                 .flags = DESCRIPTOR_INDIRECT};
    return first;
}

static void bad_tables(void)
{
    static const uint32_t lengths[] = {1, 15, 17, 47, 0x7fffffff, 0xfffffff0, UINT32_MAX};
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        indirect()->length = lengths[i];
        trial_refused(0);
    }
    const uint64_t places[] = {ram_end() - 16, ram_end(),  argument_number("rom", 0xc0000000),
                               LOCAL_APIC,     ELSEWHERE,  UINT64_MAX - 15,
                               1UL << 45,      (uint64_t)-48};
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        indirect()->address = places[i];
        trial_refused(0);
    }
    for (unsigned i = 0; i < 3; i++) { /* a table inside a table */
        struct descriptor *first = indirect();
        table[i] = *first;
        trial_refused(0);
    }
    indirect()->flags |= DESCRIPTOR_NEXT;
    trial_refused(0);
    indirect();
    table[1].next = 3; /* leads out of the table */
    trial_refused(0);
    indirect();
    table[1].next = 1; /* and in circles */
    trial_refused(0);
    indirect();
    table[1].address = ram_end();
    trial_refused(0);
}

/* Odd, but a device may serve them. */
static void odd_tables(void)
{
    struct descriptor *first = indirect();
    memmove((char *)table + 8, table, 3 * sizeof table[0]);
    first->address += 8; /* not aligned */
    trial_survived(0);
    indirect()->length = sizeof table; /* larger than what it holds */
    trial_survived(0);
    indirect()->flags |= DESCRIPTOR_WRITE; /* to be ignored, 2.7.5.3.2 */
    trial_survived(0);
    first = indirect();
    first[1] = first[0]; /* not the first of its chain */
    first[0] = table[0];
    trial_survived(0);
    indirect()->length = 0;
    trial_survived(0);
    indirect();
    table[0].flags |= 0xfff8; /* flags that do not exist */
    trial_survived(0);
}

/* Chains without fault that are no block requests. */
static void requests(void)
{
    static const struct {
        uint32_t kind;
        uint64_t sector;
    } headers[] = {{9999, 0}, {UINT32_MAX, 0}, {BLOCK_READ, UINT64_MAX}, {BLOCK_READ, 1UL << 55},
                   {8, 0},    {11, 0}};
    for (unsigned i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        uint64_t *header = (uint64_t *)trial_chain(0)->address;
        header[0] = headers[i].kind;
        header[1] = headers[i].sector;
        trial_survived(0);
    }
    static const uint32_t lengths[] = {0, 1, 15, 17};
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (unsigned place = 0; place < 3; place++) {
            trial_chain(0)[place].length = lengths[i];
            trial_survived(0);
        }
    trial_chain(0)[0].flags = 0; /* a header alone */
    trial_survived(0);
    trial_chain(0);
    trial_survived(2); /* a status alone */
}

int guest_main(void)
{
    static const struct trial trials[] = {
        {"neighbour", neighbour},   {"registers", registers},   {"rom", rom},
        {"straddle", straddle},     {"wrap", wrap},             {"loops", loops},
        {"too-long", too_long},     {"bad-tables", bad_tables}, {"odd-tables", odd_tables},
        {"requests", requests},
    };
    trial_start();
    return trials_run(trials, sizeof trials / sizeof trials[0]);
}
