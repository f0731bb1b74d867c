/* The real-time clock of a PC, an MC146818, as Linux reads and sets it. */
#ifndef RTC_H
#define RTC_H

#include <stdbool.h>
#include <stdint.h>

struct rtc_moment {
    unsigned century, year, month, day, hours, minutes, seconds, weekday;
};

/* Whether there is one. */
bool rtc_present(void);

struct rtc_moment rtc_read(void);

/* The day of the week follows from the date. */
void rtc_set(const struct rtc_moment *moment);

/* Seconds since 1970, UTC, of a moment not before it. */
uint64_t rtc_seconds(const struct rtc_moment *moment);

#endif
