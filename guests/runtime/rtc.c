#include "rtc.h"

#include "cpu.h"

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

static uint8_t read(uint8_t number)
{
    port_out8(INDEX, number);
    return port_in8(DATA);
}

static void write(uint8_t number, uint8_t value)
{
    port_out8(INDEX, number);
    port_out8(DATA, value);
}

static unsigned field(uint8_t number)
{
    uint8_t raw = read(number);
    return read(CONTROL) & CONTROL_BINARY ? raw : (raw >> 4) * 10u + (raw & 0xfu);
}

static void set_field(uint8_t number, unsigned value)
{
    bool binary = read(CONTROL) & CONTROL_BINARY;
    write(number, (uint8_t)(binary ? value : value / 10 << 4 | value % 10));
}

bool rtc_present(void)
{
    uint8_t status = read(STATUS);
    return status & STATUS_VALID && status != 0xff;
}

struct rtc_moment rtc_read(void)
{
    struct rtc_moment found;
    unsigned first;
    do {
        while (read(SELECT) & SELECT_UPDATING)
            cpu_pause();
        first = field(SECONDS);
        found = (struct rtc_moment){field(CENTURY), field(YEAR),    field(MONTH),   field(DAY),
                                    field(HOURS),   field(MINUTES), field(SECONDS), field(WEEKDAY)};
    } while (found.seconds != first || field(SECONDS) != first); /* a second went by meanwhile */
    return found;
}

void rtc_set(const struct rtc_moment *moment)
{
    uint8_t control = read(CONTROL), select = read(SELECT);
    write(CONTROL, control | CONTROL_SET);
    write(SELECT, select | SELECT_HELD);
    set_field(CENTURY, moment->century);
    set_field(YEAR, moment->year);
    set_field(MONTH, moment->month);
    set_field(DAY, moment->day);
    set_field(HOURS, moment->hours);
    set_field(MINUTES, moment->minutes);
    set_field(SECONDS, moment->seconds);
    write(CONTROL, control);
    write(SELECT, select);
}

static bool is_leap(unsigned year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

uint64_t rtc_seconds(const struct rtc_moment *m)
{
    static const unsigned lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year = m->century * 100 + m->year;
    uint64_t days = m->day - 1;
    for (unsigned before = 1970; before < year; before++)
        days += is_leap(before) ? 366 : 365;
    for (unsigned before = 1; before < m->month; before++)
        days += lengths[before - 1] + (before == 2 && is_leap(year));
    return ((days * 24 + m->hours) * 60 + m->minutes) * 60 + m->seconds;
}
