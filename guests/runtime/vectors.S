/* What the CPU jumps to: the gate into ring 0, device interrupts, and unexpected exceptions.
 *
 * The gate is `ud2`, because `int n` from CPL 3 does not work on nested PVM while exceptions do on
 * every host. A #UD is taken as a call only if it comes from the one `ud2` in `ring0`.
 *
 * An interrupt is counted and acknowledged; who waits for it looks at the counter. Anything else
 * ends in `unexpected_exception`, a C function at CPL 3 on a stack of its own. Error codes, which
 * some CPUs push and some do not, are never looked at: coming from CPL 3, the frame stands at the
 * top of the ring-0 stack in any case.
 */
#include "layout.h"

    .text
    .globl ring0
/* uint64_t ring0(function, first, second): call an assembly function of ring0.S at ring 0. */
ring0:
    movq %rdi, %rax
    movq %rsi, %rdi
    movq %rdx, %rsi
gate:
    ud2
    ret

enter_gate:
    cmpq $gate, (%rsp)
    jne not_the_gate
    addq $2, (%rsp)
    call *%rax
    iretq
not_the_gate:
    movl $INVALID_OPCODE, %edi

/* %edi: vector. */
exception:
    movq %rsp, %rcx
    movq %rsp, %rsi
    decq %rsi
    orq $(RING0_STACK - 1), %rsi
    subq $39, %rsi               /* RIP, CS, RFLAGS, RSP, SS end where the stack ends */
    movq %cr2, %rdx
    pushq $RING3_DATA
    pushq $exception_stack_top - 8
    pushq $2
    pushq $RING3_CODE
    pushq $unexpected_exception
    iretq

    .globl exception_stubs
    .balign EXCEPTION_STUB
exception_stubs:
    .set vector, 0
    .rept 32
    .balign EXCEPTION_STUB
    .if vector == INVALID_OPCODE
    jmp enter_gate
    .else
    movl $vector, %edi
    jmp exception
    .endif
    .set vector, vector + 1
    .endr

    .globl interrupt_stubs
    .balign INTERRUPT_STUB
interrupt_stubs:
    .set pin, 0
    .rept PINS
    .balign INTERRUPT_STUB
    incl interrupt_counts + 4 * pin(%rip)
    pushq %rax
    movl $LOCAL_APIC_EOI, %eax
    movl $0, (%rax)
    popq %rax
    iretq
    .set pin, pin + 1
    .endr

    .globl spurious_stub
spurious_stub:
    iretq

    .data
    .globl interrupt_pointer
    .balign 8
interrupt_pointer:
    .word 256 * 16 - 1
    .quad interrupt_gates

    .bss
    .globl interrupt_gates, interrupt_counts
    .balign 4096
interrupt_gates:
    .skip 256 * 16
interrupt_counts:
    .skip 4 * PINS
    .balign 16
    .skip 8192
exception_stack_top:

    .section .note.GNU-stack, "", @progbits
