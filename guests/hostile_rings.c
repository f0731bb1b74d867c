/* A guest whose rings are where they must not be, are not rings, or come and go.
 *
 * Places and sizes of a split virtqueue (virtio 1.2, 2.7) and its indices; a device must refuse
 * them by asking for a reset, or live with them, and work after it. The arguments are mode= (all
 * of the table at the end), device=0, rom=0xc0000000, where the guest has a ROM or nothing.
 */
#include "arguments.h"
#include "layout.h"
#include "memory.h"
#include "start_info.h"
#include "trial.h"

#define PAGE 4096UL
#define ELSEWHERE 0xdf000000 /* no memory and no device */
#define TOGGLES 200
#define CONFIG_WRITES 2000

const char guest_name[] = "hostile_rings";

static uint8_t area[8 * PAGE] __attribute__((aligned(4096)));

static uint64_t ram_end(void) { return memory_end((uintptr_t)area); }

static void write_address(uint32_t offset, uint64_t address)
{
    virtio_write(&trial_disk.virtio, offset, (uint32_t)address);
    virtio_write(&trial_disk.virtio, offset + 4, (uint32_t)(address >> 32));
}

/* The whole of a start-up with a queue as described; the disk is live, if it likes it. */
static void start_with(uint32_t size, uint64_t descriptors, uint64_t driver, uint64_t device)
{
    struct virtio_device *virtio = &trial_disk.virtio;
    if (!virtio_negotiate(virtio, FEATURE_EVENT_IDX | FEATURE_INDIRECT, false))
        trial_failed("the disk refuses the features");
    virtio_write(virtio, REG_QUEUE_SELECT, 0);
    virtio_write(virtio, REG_QUEUE_SIZE, size);
    write_address(REG_QUEUE_DESCRIPTORS, descriptors);
    write_address(REG_QUEUE_DRIVER, driver);
    write_address(REG_QUEUE_DEVICE, device);
    virtio_write(virtio, REG_QUEUE_READY, 1);
    virtio_start(virtio);
    virtio_write(virtio, REG_QUEUE_NOTIFY, 0);
}

static void works_again(void)
{
    trial_start();
    trial_prove();
}

static void refused(uint32_t size, uint64_t descriptors, uint64_t driver, uint64_t device)
{
    start_with(size, descriptors, driver, device);
    trial_await(false);
    works_again();
}

static void places(void)
{
    uint64_t good = (uintptr_t)area, end = ram_end();
    const uint64_t bad[] = {
        end,        end - 16,   end + (1UL << 20), argument_number("rom", 0xc0000000),
        LOCAL_APIC, ELSEWHERE,  trial_disk.virtio.base, 1UL << 32,
        1UL << 45,  1UL << 63,  -(uint64_t)16,
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refused(8, bad[i], good + PAGE, good + 2 * PAGE);
        refused(8, good, bad[i], good + 2 * PAGE);
        refused(8, good, good + PAGE, bad[i]);
    }
    refused(8, good + 8, good + PAGE, good + 2 * PAGE); /* not aligned */
    refused(8, good, good + PAGE + 1, good + 2 * PAGE);
    refused(8, good, good + PAGE, good + 2 * PAGE + 2);
}

static void sizes(void)
{
    const uint32_t bad[] = {0, 3, 7, 1000, 2048, 65535, 65536, 0x80000000, UINT32_MAX};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(bad[i], (uintptr_t)area, (uintptr_t)area + 2 * PAGE, (uintptr_t)area + 4 * PAGE);
}

/* The guest may put its rings on top of each other; it harms only itself. */
static void overlap(void)
{
    uintptr_t at = (uintptr_t)area;
    for (uintptr_t apart = 0; apart < 8; apart += 4) {
        for (unsigned i = 0; i < sizeof area; i++)
            area[i] = 0;
        start_with(8, at, at, at + apart);
        struct descriptor *first = (struct descriptor *)at;
        first->address = (uintptr_t)&area[PAGE]; /* which is also the ring's head */
        first->length = 1;
        *(volatile uint16_t *)(at + 2) = 1; /* and the available index */
        virtio_write(&trial_disk.virtio, REG_QUEUE_NOTIFY, 0);
        works_again();
    }
}

/* Rings that end with RAM are rings. */
static void last_page(void)
{
    struct descriptor *usual = trial_disk.queue.descriptors;
    trial_disk.queue.descriptors = (struct descriptor *)(ram_end() - 2 * PAGE);
    works_again();
    trial_disk.queue.descriptors = usual;
    works_again();
}

static void indices(void)
{
    uint16_t size = trial_disk.queue.size;
    const uint16_t ahead[] = {(uint16_t)(size + 1), 0x7fff, 0x8000, 0xfffe, 0xffff};
    for (unsigned i = 0; i < sizeof ahead / sizeof ahead[0]; i++) {
        trial_disk.queue.offered = (uint16_t)(trial_disk.queue.offered + ahead[i] - 1);
        trial_refused(0); /* which offers one more */
    }
}

static void heads(void)
{
    uint16_t size = trial_disk.queue.size;
    const uint16_t bad[] = {size, (uint16_t)(size + 1), 0x8000, 0xffff};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        trial_refused(bad[i]);
    for (uint16_t copies = 1; copies < 8; copies++) { /* the same one over and over */
        trial_chain(0);
        for (uint16_t i = 0; i < copies; i++)
            queue_offer(&trial_disk.queue, 0);
        trial_survived(0);
    }
}

static void ready_toggles(void)
{
    for (unsigned i = 0; i < TOGGLES; i++) {
        if (i % TRIAL_DEPTH == 0)
            trial_submit(i / TRIAL_DEPTH % TRIAL_DEPTH, BLOCK_READ, 0);
        queue_publish(&trial_disk.queue);
        virtio_write(&trial_disk.virtio, REG_QUEUE_READY, 0);
        virtio_write(&trial_disk.virtio, REG_QUEUE_READY, 1);
    }
    works_again();
}

/* Every status there is, in any order, and features taken back while the device runs. */
static void states(void)
{
    for (uint32_t status = 255; status > 0; status--) {
        virtio_write(&trial_disk.virtio, REG_STATUS, status * 37 & 0xff);
        virtio_write(&trial_disk.virtio, REG_DRIVER_FEATURES, status * 0x01234567);
        virtio_write(&trial_disk.virtio, REG_QUEUE_NOTIFY, status % 3);
    }
    works_again();
}

/* Each write is told to the other half; more of them than it can take must not pile up. */
static void configuration(void)
{
    for (uint32_t i = 0; i < CONFIG_WRITES; i++)
        device_write32(trial_disk.virtio.base + REG_CONFIG + i % 15 * 4, i);
    works_again();
}

int guest_main(void)
{
    static const struct trial trials[] = {
        {"places", places},       {"sizes", sizes},
        {"overlap", overlap},     {"last-page", last_page},
        {"indices", indices},     {"heads", heads},
        {"states", states},       {"ready-toggles", ready_toggles},
        {"configuration", configuration},
    };
    trial_start();
    return trials_run(trials, sizeof trials / sizeof trials[0]);
}
