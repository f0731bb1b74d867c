/* Computes and nothing else, on every processor, and counts what it got done.
 *
 * One unit of work is 2,000 instructions at CPL 3. The boot CPU counts its units and, every so
 * many of them, hands a line with everyone's count and its time-stamp counter to the console,
 * without waiting: the two numbers belong together, however late the line arrives.
 *
 *   spin: start cycles=<tsc> cpus=<n>      before the first unit
 *   spin: work=<units> cycles=<tsc>        after every=N units of the boot CPU; 0: never
 *   spin: ran <start> <end>                with trace=1, at the end
 *   spin: done work=<units> cycles=<tsc>
 *
 * It ends after work=N units of the boot CPU, after cycles=N cycles, or after intervals=N run
 * intervals, whichever comes first; 0 is no limit. A run interval of the boot CPU lies between two
 * gaps of more than gap=N cycles in the time-stamp counter, which is what being taken off a
 * processor looks like from inside; intervals are kept in memory until the end.
 */
#include "arguments.h"
#include "cpu.h"
#include "cpus.h"
#include "exit.h"
#include "layout.h"
#include "memory.h"
#include "print.h"
#include "work.h"

const char guest_name[] = "spin";

/* One cache line each, so that counting disturbs nobody. */
static struct counter {
    volatile uint64_t units;
    uint64_t padding[7];
} __attribute__((aligned(64))) counters[MAX_CPUS];

struct interval {
    uint64_t start, end; /* cycles */
};

static struct interval *intervals;
static uint64_t recorded;

static uint64_t total(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < MAX_CPUS; i++)
        sum += counters[i].units;
    return sum;
}

static void spin_for_ever(uint32_t number)
{
    for (;;) {
        work_unit();
        counters[number].units++;
    }
}

static void spin_and_tell(void)
{
    uint64_t work = argument_number("work", 0), limit = argument_number("cycles", 0);
    uint64_t every = argument_number("every", 0), gap = argument_number("gap", 1000000);
    uint64_t room = intervals ? argument_number("intervals", 1000) : 0;
    uint64_t begun = cycles(), since = begun, last = begun;
    for (uint64_t units = 0, told = 0; work == 0 || units < work;) {
        work_unit();
        counters[BOOT_CPU].units = ++units;
        uint64_t now = cycles();
        if (room > 0 && now - last > gap) {
            intervals[recorded++] = (struct interval){since, last};
            since = now;
            if (recorded == room)
                break;
        }
        last = now;
        if (every > 0 && units - told == every) {
            print_posted("spin: work=%lu cycles=%lu\n", total(), now);
            told = units;
        }
        if (limit > 0 && now - begun >= limit)
            break;
    }
}

int guest_main(void)
{
    if (argument_number("trace", 0)) {
        intervals = memory_take(argument_number("intervals", 1000) * sizeof *intervals);
        if (!intervals)
            fail("not enough memory for the intervals");
    }
    uint32_t count = cpus_start(spin_for_ever);
    print("spin: start cycles=%lu cpus=%u\n", cycles(), count);
    spin_and_tell();
    uint64_t done = total(), end = cycles();
    for (uint64_t i = 0; i < recorded; i++)
        print("spin: ran %lu %lu\n", intervals[i].start, intervals[i].end);
    print("spin: done work=%lu cycles=%lu\n", done, end);
    return 0;
}
