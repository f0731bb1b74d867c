/* An exception that nobody expected: a report on the console, and the end. */
#include "console.h"
#include "cpu.h"
#include "exit.h"
#include "print.h"

struct frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Comes from vectors.S at CPL 3, on a stack of its own. `frame` is where CPL 3 was; if ring 0 was
 * interrupted on its way there, `stack` lies below it. */
_Noreturn void unexpected_exception(uint64_t vector, const struct frame *frame, uint64_t address,
                                    uint64_t stack)
{
    uint64_t room = (uintptr_t)frame - stack;
    console_after_exception();
    print("\n%s: exception %lu at rip 0x%lx%s\n", guest_name, vector, frame->rip,
          room > sizeof(uint64_t) ? ", in ring 0" : "");
    print("%s: rflags 0x%lx rsp 0x%lx cr2 0x%lx\n", guest_name, frame->rflags, frame->rsp, address);
    guest_exit(STATUS_EXCEPTION);
}
