/* The real-time clock of a PC, read as Linux reads it, and printed again and again. With `set=1` it
 * is first set to 1999-12-31 23:59:50 and then ticks from there. Ends with `reads=N` lines, or when
 * the clock has gone back. */
#include "arguments.h"
#include "exit.h"
#include "print.h"
#include "rtc.h"

const char guest_name[] = "rtc";

int guest_main(void)
{
    static const struct rtc_moment eve = {19, 99, 12, 31, 23, 59, 50, 0};
    uint64_t reads = argument_number("reads", 2), latest = 0;
    if (!rtc_present())
        fail("no clock");
    if (argument_number("set", 0))
        rtc_set(&eve);
    for (uint64_t i = 0; i < reads; i++) {
        struct rtc_moment m = rtc_read();
        print("rtc: %02u%02u-%02u-%02u %02u:%02u:%02u day %u\n", m.century, m.year, m.month, m.day,
              m.hours, m.minutes, m.seconds, m.weekday);
        if (rtc_seconds(&m) < latest)
            fail("the clock went back");
        latest = rtc_seconds(&m);
    }
    return 0;
}
