/* A fixed amount of computing, at CPL 3 and in registers alone. */
#ifndef WORK_H
#define WORK_H

#include <stdint.h>

#define UNIT 1000 /* loop iterations, of two instructions each */

static inline void work_unit(void)
{
    uint64_t left = UNIT;
    __asm__ volatile("1:  decq %0\n"
                     "    jnz 1b\n"
                     : "+r"(left)
                     :
                     : "cc");
}

#endif
