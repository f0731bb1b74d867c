/* Where a secondary CPU starts, in real mode: cpus.c copies this below 1 MiB. */
#include "layout.h"

    .text
    .globl trampoline, trampoline_end
    .code16
    .balign 16
trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl pointer - trampoline
    movl $0x11, %eax             /* CR0: ET, PE; caches on */
    movl %eax, %cr0
    ljmpl $RING0_CODE32, $secondary_entry
    .balign 4
pointer:
    .word FIRST_TSS + 16 * MAX_CPUS - 1
    .long segments
trampoline_end:

    .section .note.GNU-stack, "", @progbits
