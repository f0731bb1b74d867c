#include "outbox.h"

#include "bytes.h"
#include "console.h"
#include "crc32.h"
#include "print.h"

#define ROOM 8192
#define LINE 256
#define PIECE 512 /* what console_post takes; lines straddle pieces */

static char waiting[ROOM];
static size_t begin, end;
static struct outbox_total total;

static void hand_over(void)
{
    size_t count = end - begin < PIECE ? end - begin : PIECE;
    console_post(waiting + begin, count);
    begin += count;
    if (begin == end)
        begin = end = 0;
}

void outbox_pump(void)
{
    if (begin < end && console_idle())
        hand_over();
}

void outbox_print(const char *format, ...)
{
    char line[LINE];
    va_list arguments;
    va_start(arguments, format);
    format_text(line, sizeof line, format, arguments);
    va_end(arguments);
    size_t count = strlen(line);
    total.bytes += count;
    total.crc = crc32_more(total.crc, line, count);
    if (ROOM - end < count) {
        memmove(waiting, waiting + begin, end - begin);
        end -= begin;
        begin = 0;
    }
    while (ROOM - end < count)
        hand_over();
    memcpy(waiting + end, line, count);
    end += count;
}

bool outbox_roomy(void) { return end - begin < ROOM / 2; }

void outbox_drain(void)
{
    while (begin < end)
        hand_over();
    console_settle();
}

struct outbox_total outbox_total(void) { return total; }
