/* The GDT and the task states: flat segments for both rings, one TSS per CPU.
 *
 * A TSS is needed for one thing only: it names the stack on which ring 0 takes exceptions and
 * interrupts. The boot CPU's is complete as linked; C fills in the others before it starts them.
 */
#include "layout.h"

    .data
    .globl segments, segment_pointer, task_states
    .balign 16
segments:
    .quad 0
    .quad 0x00af9b000000ffff     /* RING0_CODE: 64-bit */
    .quad 0x00cf93000000ffff     /* RING0_DATA */
    .quad 0x00cff3000000ffff     /* RING3_DATA */
    .quad 0x00affb000000ffff     /* RING3_CODE: 64-bit */
    .quad 0x00cf9b000000ffff     /* RING0_CODE32 */
    .long boot_tss_low, boot_tss_high, 0, 0
    .fill 2 * (MAX_CPUS - 1), 8, 0
segments_end:

segment_pointer:
    .word segments_end - segments - 1
    .quad segments

    .balign 16
task_states:
    .long 0
    .quad ring0_stacks + RING0_STACK
    .fill TASK_STATE_SIZE - 12, 1, 0
    .fill TASK_STATE_SIZE * (MAX_CPUS - 1), 1, 0

    .section .note.GNU-stack, "", @progbits
