/* A verified load on everything that a service OS serves, to run while service OSes are killed,
 * stopped, slowed and garbled. It never waits for one device before it goes on with another.
 *
 * Disk: what operation n (from 0) does follows from the seed and n (workload.h), so that others can
 * tell where write n went. Blocks are stamped with the number of their write (stamp.h). Requests
 * overlap in flight, and each block read is held against what could be there (versions.h). The disk
 * must be all zeros unless fresh=0. Entropy: no 64-bit word may be zero or come twice.
 *
 *   storm: start seed=.. blocks=.. span=.. writes=.. flush=.. depth=.. hz=..
 *   storm: line <i> <crc> <text>    the text follows from seed and i; CRC-32 of the text
 *   storm: flushed <k> <n>          all writes numbered below n had completed before flush k
 *   storm: failed <kind> <n>        operation n ended with an I/O error; a write may be there or not
 *   storm: at <second> <requests>   completed so far, once a second
 *   storm: gap <us> at <ms>         so long no disk request completed, until then
 *   storm: uart <text>              with uart=1: on com1, once a second; the vCPU waits for it
 *   storm: result <key>=<value> ..  `console` and `crc`: bytes of all lines before, their CRC-32
 *   storm: PASS <n> requests
 *
 * It ends after seconds=N, after ops=N operations, or with listen=1 at the byte 0x04 from a virtio
 * console (which is also how the end of a terminal's input arrives), whichever comes first. Then it
 * reads back the whole range, flushes, and says the result.
 *
 * Arguments: device=0 depth=32 blocks=<all> span=8 (blocks of the largest request) writes=50
 * (percent) flush=256 lines=256 entropy=1024 (operations from one to the next; 0: none) seed=1
 * seconds=10 (0: no limit) ops=<no limit> gap=2000 (us) check=full|stamps (CRC of all, or of one
 * block in eight) errors=0 (1: I/O errors are counted) fresh=1 listen=0 uart=0 indirect=0, and
 * hz=2000000000: the rate of the time-stamp counter, which a guest cannot find out by itself.
 */
#include "arguments.h"
#include "block.h"
#include "bytes.h"
#include "console.h"
#include "crc32.h"
#include "entropy.h"
#include "exit.h"
#include "histogram.h"
#include "novelty.h"
#include "outbox.h"
#include "print.h"
#include "stamp.h"
#include "text.h"
#include "uart.h"
#include "versions.h"
#include "workload.h"

#define MAX_DEPTH 256
#define SECTORS (STAMP_BLOCK / SECTOR)
#define END_OF_INPUT 0x04
#define UART_LINES (1UL << 63)
#define ENTROPY_BYTES 32

const char guest_name[] = "storm";

struct request {
    bool busy;
    struct operation what;
    uint64_t number, started;
    uint64_t floor[WORKLOAD_SPAN]; /* of a read: per block, when it was submitted */
    uint64_t complete;             /* of a flush: all writes below had completed */
};

static struct workload load;

static struct {
    uint64_t lines, entropy, ops, gap, hz, seconds;
    bool whole, fresh, uart;
} set;

static struct {
    uint64_t requests, reads, writes, flushes, lines, uart_lines, entropy, errors;
} count;

static struct block_device disk;
static struct versions versions;
static struct request requests[MAX_DEPTH];
static unsigned vacant[MAX_DEPTH], vacancies;
static struct histogram latency, gaps;
static uint64_t submitted, began, last_completion, second;
static struct novelty entropy_seen;
static bool entropy_there, entropy_asked, listening, told_to_end;

/* Cycles, which never go back, even if the vCPU moves to another processor. */
static uint64_t time(void)
{
    static uint64_t latest;
    uint64_t now = cycles();
    return latest = now > latest ? now : latest;
}

static uint64_t microseconds(uint64_t span) { return span * 1000 / (set.hz / 1000); }

static void show_in_flight(void)
{
    outbox_drain();
    for (unsigned i = 0; i < disk.options.depth; i++)
        if (requests[i].busy)
            print("storm: in flight: %s %lu, %u blocks from %lu\n",
                  workload_name(requests[i].what.kind), requests[i].number,
                  requests[i].what.count, requests[i].what.first);
}

/* Ends the guest, and says what was in flight. */
#define refuse(...) (show_in_flight(), fail(__VA_ARGS__))

static void judge_block(const struct request *read, unsigned i, const uint8_t *data)
{
    static const char *const findings[] = {"", "zeros", "no stamp of this seed",
                                           "the stamp of another block", "a wrong CRC"};
    uint64_t block = read->what.first + i, sequence, found;
    uint64_t floor = read->floor[i], top = versions.top[block];
    bool whole = set.whole || (read->number + i) % 8 == 0;
    enum stamp_finding finding = stamp_look(data, block, load.seed, whole, &sequence);
    bool initial = finding == STAMP_ZEROS || (finding == STAMP_FOREIGN && !set.fresh);
    found = initial ? 0 : sequence + 1;
    if (finding != STAMP_GOOD && !(initial && floor == 0))
        refuse("LBA %lu, read %lu: expected writes %ld to %ld, found %s (0x%lx, write %lu)",
               block * SECTORS, read->number, (int64_t)floor - 1, (int64_t)top - 1,
               findings[finding], *(const uint64_t *)data, sequence);
    if (found < floor || found > top)
        refuse("LBA %lu, read %lu: expected writes %ld to %ld, found %ld", block * SECTORS,
               read->number, (int64_t)floor - 1, (int64_t)top - 1, (int64_t)found - 1);
    versions_seen(&versions, block, found);
}

static void judge_read(const struct request *read, const uint8_t *data)
{
    for (unsigned i = 0; i < read->what.count; i++, data += STAMP_BLOCK)
        judge_block(read, i, data);
    if (*(const uint64_t *)data != STAMP_POISON)
        refuse("LBA %lu, read %lu: more came than asked for", read->what.first * SECTORS, read->number);
}

static void complete(unsigned slot, uint64_t now)
{
    struct request *done = &requests[slot];
    const struct operation *what = &done->what;
    done->busy = false;
    vacant[vacancies++] = slot;
    count.requests++;
    histogram_add(&latency, now - done->started);
    if (disk.status != 0) {
        count.errors++;
        outbox_print("storm: failed %s %lu\n", workload_name(what->kind), done->number);
    } else if (what->kind == BLOCK_READ) {
        count.reads++;
        judge_read(done, block_buffer(&disk, slot));
    } else if (what->kind == BLOCK_WRITE) {
        count.writes++;
        for (unsigned i = 0; i < what->count; i++)
            versions_seen(&versions, what->first + i, done->number + 1);
    } else {
        outbox_print("storm: flushed %lu %lu\n", count.flushes++, done->complete);
    }
}

static void submit(struct operation what, uint64_t number)
{
    unsigned slot = vacant[--vacancies];
    uint8_t *data = block_buffer(&disk, slot);
    struct request *request = &requests[slot];
    *request = (struct request){.what = what, .number = number, .complete = number};
    for (unsigned i = 0; what.kind == BLOCK_FLUSH && i < disk.options.depth; i++)
        if (requests[i].busy && requests[i].what.kind == BLOCK_WRITE &&
            requests[i].number < request->complete)
            request->complete = requests[i].number;
    for (unsigned i = 0; i < what.count; i++, data += STAMP_BLOCK) {
        request->floor[i] = versions.floor[what.first + i];
        if (what.kind == BLOCK_WRITE) {
            stamp_fill(data, what.first + i, number, load.seed);
            versions_submitted(&versions, what.first + i, number + 1);
        } else {
            stamp_poison(data);
        }
    }
    if (what.kind == BLOCK_READ)
        stamp_poison(data);
    request->busy = true;
    request->started = time();
    block_submit(&disk, slot, what.kind, what.first * SECTORS, what.count * STAMP_BLOCK);
}

static void say_line(void)
{
    char text[TEXT_ROOM];
    uint32_t crc = crc32_more(0, text, text_make(load.key ^ count.lines, text));
    outbox_print("storm: line %lu %08x %s\n", count.lines++, crc, text);
}

static void say_on_uart(void)
{
    char text[TEXT_ROOM + 1];
    size_t length = text_make(load.key ^ (UART_LINES | count.uart_lines++), text);
    text[length] = '\n';
    uart_write("storm: uart ", 12);
    uart_write(text, length + 1);
}

static void judge_entropy(const uint8_t *bytes, uint32_t length)
{
    const uint64_t *next = (const uint64_t *)bytes;
    for (uint32_t i = 0; i < length / 8; i++) {
        if (next[i] == 0)
            refuse("entropy read %lu brought zeros", count.entropy);
        if (!novelty_add(&entropy_seen, next[i]))
            refuse("entropy read %lu brought 0x%lx again", count.entropy, next[i]);
    }
}

/* Everything that is due besides the disk, and nothing that has to be waited for. */
static void attend(uint64_t now)
{
    uint8_t bytes[ENTROPY_BYTES];
    char input[16];
    uint32_t got;
    if (entropy_asked && entropy_take(bytes, &got)) {
        entropy_asked = false;
        count.entropy++;
        judge_entropy(bytes, got);
    }
    if (entropy_there && !entropy_asked && submitted / set.entropy > count.entropy) {
        entropy_ask(ENTROPY_BYTES);
        entropy_asked = true;
    }
    if (set.lines && submitted / set.lines > count.lines && outbox_roomy())
        say_line();
    if (now - began >= (second + 1) * set.hz) {
        outbox_print("storm: at %lu %lu\n", ++second, count.requests);
        if (set.uart)
            say_on_uart();
    }
    while (listening && console_ready())
        for (size_t left = console_read(input, sizeof input); left > 0; left--)
            told_to_end |= input[left - 1] == END_OF_INPUT;
    outbox_pump();
}

static void note_gap(uint64_t now)
{
    uint64_t gap = now - last_completion;
    last_completion = now;
    if (gap < set.gap)
        return;
    histogram_add(&gaps, gap);
    outbox_print("storm: gap %lu at %lu\n", microseconds(gap), microseconds(now - began) / 1000);
}

static int take(void)
{
    int slot;
    if (!block_take(&disk, &slot))
        refuse("%s", disk.problem);
    return slot;
}

/* Waits until there is a completion, and takes all there are. */
static void take_completions(void)
{
    uint64_t asked = second;
    for (unsigned spins = 1; !queue_ready(&disk.queue); spins++) {
        cpu_pause();
        if (spins % 64)
            continue;
        attend(time());
        if (second != asked && virtio_needs_reset(&disk.virtio))
            refuse("the disk needs a reset");
        asked = second;
    }
    uint64_t now = time();
    note_gap(now);
    for (int slot; (slot = take()) >= 0;)
        complete((unsigned)slot, now);
}

static void drain(void)
{
    block_publish(&disk);
    while (disk.in_flight > 0)
        take_completions();
    take(); /* nothing, or a completion too many */
}

static void run(void)
{
    began = last_completion = time();
    uint64_t end = set.seconds ? began + set.seconds * set.hz : UINT64_MAX;
    while (!told_to_end && time() < end && submitted < set.ops) {
        for (; vacancies > 0 && submitted < set.ops; submitted++)
            submit(workload_at(&load, submitted), submitted);
        block_publish(&disk);
        attend(time());
        take_completions();
    }
    drain();
}

/* Everything, in the largest requests there are, by the same judge: with nothing in flight, a
 * block holds the last write to it that did not fail. */
static void read_back(void)
{
    for (uint64_t at = 0, number = submitted; at < load.blocks; number++) {
        uint64_t left = load.blocks - at;
        uint32_t span = (uint32_t)(left < load.span ? left : load.span);
        if (vacancies == 0) {
            block_publish(&disk);
            take_completions();
        }
        submit((struct operation){BLOCK_READ, at, span}, number);
        at += span;
    }
    drain();
    if (load.flush)
        submit((struct operation){.kind = BLOCK_FLUSH}, submitted);
    drain();
}

static void read_arguments(struct block_options *options)
{
    char check[8];
    *options = (struct block_options){
        .number = (unsigned)argument_number("device", 0),
        .depth = (unsigned)argument_number("depth", 32),
        .buffer = (WORKLOAD_SPAN + 1) * STAMP_BLOCK, /* one to see whether too much comes */
        .indirect = argument_number("indirect", 0),
        .failures = argument_number("errors", 0),
    };
    load.span = argument_number("span", WORKLOAD_SPAN);
    load.writes = argument_number("writes", 50);
    load.flush = argument_number("flush", 256);
    set.lines = argument_number("lines", 256);
    set.entropy = argument_number("entropy", 1024);
    set.seconds = argument_number("seconds", 10);
    set.ops = argument_number("ops", UINT64_MAX);
    load.seed = argument_number("seed", 1);
    set.hz = argument_number("hz", 2000000000);
    set.gap = argument_number("gap", 2000) * (set.hz / 1000) / 1000;
    set.fresh = argument_number("fresh", 1);
    set.uart = argument_number("uart", 0);
    set.whole = same_text(argument_text("check", "full", check, sizeof check), "full");
    if (!set.whole && !same_text(check, "stamps"))
        fail("check=%s: full or stamps", check);
    if (load.span == 0 || load.span > WORKLOAD_SPAN)
        fail("span=%lu: 1 to %u", load.span, WORKLOAD_SPAN);
    if (set.hz < 1000000)
        fail("hz=%lu: the rate of the time-stamp counter", set.hz);
}

static void start(void)
{
    struct block_options options;
    read_arguments(&options);
    crc32_prepare();
    if (!block_start(&disk, &options))
        fail("%s", disk.problem);
    if (disk.read_only)
        fail("the disk is read-only");
    uint64_t whole = disk.sectors / SECTORS;
    load.blocks = argument_number("blocks", whole);
    if (load.blocks == 0 || load.blocks > whole)
        fail("blocks=%lu: the disk has %lu", load.blocks, whole);
    if (!versions_start(&versions, load.blocks))
        fail("not enough memory to judge %lu blocks", load.blocks);
    if (!disk.can_flush)
        load.flush = 0;
    while (vacancies < options.depth)
        vacant[vacancies] = vacancies, vacancies++;
    load.key = mix(load.seed);
    entropy_there = set.entropy && entropy_start();
    listening = argument_number("listen", 0) && console_accept();
    if (set.uart)
        uart_start(false);
    outbox_print("storm: start seed=%lu blocks=%lu span=%lu writes=%lu flush=%lu depth=%u hz=%lu\n",
                 load.seed, load.blocks, load.span, load.writes, load.flush, options.depth, set.hz);
}

static void say_histogram(const char *name, const struct histogram *times)
{
    outbox_print(" %sp50_us=%lu %sp99_us=%lu %smax_us=%lu", name,
                 microseconds(histogram_percentile(times, 50)), name,
                 microseconds(histogram_percentile(times, 99)), name, microseconds(times->longest));
}

int guest_main(void)
{
    start();
    run();
    uint64_t took = microseconds(time() - began), in_time = count.requests;
    read_back();
    struct outbox_total total = outbox_total();
    outbox_print("storm: result requests=%lu in_time=%lu time_us=%lu submitted=%lu reads=%lu",
                 count.requests, in_time, took, submitted, count.reads);
    outbox_print(" writes=%lu flushes=%lu lines=%lu uart_lines=%lu entropy=%lu errors=%lu",
                 count.writes, count.flushes, count.lines, count.uart_lines, count.entropy,
                 count.errors);
    say_histogram("", &latency);
    say_histogram("gap_", &gaps);
    outbox_print(" gaps=%lu console=%lu crc=0x%08x\n", gaps.count, total.bytes, total.crc);
    outbox_print("storm: PASS %lu requests\n", count.requests);
    outbox_drain();
    return 0;
}
