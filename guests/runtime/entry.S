/* From the PVH entry (32-bit, paging off) to C at CPL 3, in as few instructions as possible.
 *
 * Ring-0 code is emulated instruction by instruction on nested PVM, so nothing is computed here
 * that the linker can compute, and nothing set up that C can set up at CPL 3: the page tables and
 * descriptors are static, and the IDT is still empty when C starts.
 *
 * The other CPUs join at `secondary_entry`, coming from the trampoline.
 */
#include "layout.h"

#define NOTE_PHYS32_ENTRY 18

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, NOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_entry

    .text
    .code32
    .globl pvh_entry
pvh_entry:
    cli
    cld
    movl %ebx, start_info_address
    lgdt segment_pointer
    xorl %ebp, %ebp
    jmp to_long_mode

    .globl secondary_entry
secondary_entry:
    movl $RING0_DATA, %eax
    movl %eax, %ds
    movl secondary_number, %ebp

/* %ebp: number of this CPU. */
to_long_mode:
    movl $0x20, %eax             /* CR4.PAE */
    movl %eax, %cr4
    movl $page_map, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx       /* EFER.LME */
    movl $0x100, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x80010033, %eax       /* CR0: PG, WP, NE, ET, MP, PE */
    movl %eax, %cr0
    ljmp $RING0_CODE, $long_mode

    .code64
long_mode:
    movl $RING3_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl $RING0_DATA, %eax
    movl %eax, %ss
    lidt interrupt_pointer
    movl %ebp, %eax
    shll $4, %eax
    addl $FIRST_TSS, %eax
    ltr %ax

    movl %ebp, %edi              /* the C function's argument */
    incl %ebp
    imull $RING0_STACK, %ebp, %eax
    leaq ring0_stacks(%rax), %rsp
    imull $RING3_STACK, %ebp, %eax
    leaq ring3_stacks-8(%rax), %rax
    pushq $RING3_DATA
    pushq %rax
    pushq $2                     /* interrupts stay off until C has built the IDT */
    pushq $RING3_CODE
    pushq $start
    iretq

    .data
    .globl start_info_address, secondary_number
    .balign 8
start_info_address:
    .quad 0
secondary_number:
    .long 0

    .bss
    .globl ring0_stacks, ring3_stacks
    .balign 4096
ring0_stacks:
    .skip RING0_STACK * MAX_CPUS
ring3_stacks:
    .skip RING3_STACK * MAX_CPUS

    .section .note.GNU-stack, "", @progbits
