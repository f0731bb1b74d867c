/* The real-time clock of a PC, read as Linux reads it, and printed again and again. With `set=1` it
 * is first set to 1999-12-31 23:59:50 and then ticks from there. Ends with `reads=N` lines, or when
 * the clock has gone back. */
#include "arguments.h"
#include "cpu.h"
#include "exit.h"
#include "print.h"

#include <stdbool.h>
#include <stdint.h>

#define INDEX 0x70
#define DATA 0x71

#define SECONDS 0
#define MINUTES 2
#define HOURS 4
#define WEEKDAY 6
#define DAY 7
#define MONTH 8
#define YEAR 9
#define CENTURY 0x32

#define SELECT 0x0a
#define SELECT_UPDATING 0x80
#define SELECT_HELD 0x70
#define CONTROL 0x0b
#define CONTROL_SET 0x80
#define CONTROL_BINARY 0x04
#define STATUS 0x0d
#define STATUS_VALID 0x80

const char guest_name[] = "rtc";

struct moment {
    unsigned century, year, month, day, hours, minutes, seconds, weekday;
};

static uint8_t clock_read(uint8_t number)
{
    port_out8(INDEX, number);
    return port_in8(DATA);
}

static void clock_write(uint8_t number, uint8_t value)
{
    port_out8(INDEX, number);
    port_out8(DATA, value);
}

static unsigned field(uint8_t number)
{
    uint8_t raw = clock_read(number);
    return clock_read(CONTROL) & CONTROL_BINARY ? raw : (raw >> 4) * 10u + (raw & 0xfu);
}

static struct moment now(void)
{
    struct moment found;
    unsigned first;
    do {
        while (clock_read(SELECT) & SELECT_UPDATING)
            cpu_pause();
        first = field(SECONDS);
        found = (struct moment){field(CENTURY), field(YEAR),    field(MONTH),   field(DAY),
                                field(HOURS),   field(MINUTES), field(SECONDS), field(WEEKDAY)};
    } while (found.seconds != first || field(SECONDS) != first); /* a second went by meanwhile */
    return found;
}

static void set(void)
{
    static const uint8_t wanted[][2] = {{CENTURY, 0x19}, {YEAR, 0x99},    {MONTH, 0x12},  {DAY, 0x31},
                                        {HOURS, 0x23},   {MINUTES, 0x59}, {SECONDS, 0x50}};
    uint8_t control = clock_read(CONTROL), select = clock_read(SELECT);
    clock_write(CONTROL, control | CONTROL_SET);
    clock_write(SELECT, select | SELECT_HELD);
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
        clock_write(wanted[i][0], wanted[i][1]);
    clock_write(CONTROL, control);
    clock_write(SELECT, select);
}

static uint64_t order(const struct moment *m)
{
    uint64_t date = ((m->century * 100UL + m->year) * 16 + m->month) * 32 + m->day;
    return ((date * 32 + m->hours) * 64 + m->minutes) * 64 + m->seconds;
}

int guest_main(void)
{
    uint64_t reads = argument_number("reads", 2), latest = 0;
    if (!(clock_read(STATUS) & STATUS_VALID) || clock_read(STATUS) == 0xff)
        fail("no clock");
    if (argument_number("set", 0))
        set();
    for (uint64_t i = 0; i < reads; i++) {
        struct moment m = now();
        print("rtc: %02u%02u-%02u-%02u %02u:%02u:%02u day %u\n", m.century, m.year, m.month, m.day,
              m.hours, m.minutes, m.seconds, m.weekday);
        if (order(&m) < latest)
            fail("the clock went back");
        latest = order(&m);
    }
    return 0;
}
