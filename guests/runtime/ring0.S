/* The functions that only ring 0 can do; call them through the gate, `ring0(function, a, b)`.
 *
 * Arguments in %rdi and %rsi, result in %rax. Interrupts are off. At entry the stack holds the
 * return address and above it the frame that leads back to CPL 3.
 */
    .text
    .globl ring0_in8, ring0_in16, ring0_in32, ring0_out8, ring0_out16, ring0_out32
    .globl ring0_interrupts_on, ring0_wait, ring0_park

ring0_in8:                       /* (port) */
    movl %edi, %edx
    xorl %eax, %eax
    inb %dx, %al
    ret
ring0_in16:                      /* (port) */
    movl %edi, %edx
    xorl %eax, %eax
    inw %dx, %ax
    ret
ring0_in32:                      /* (port) */
    movl %edi, %edx
    inl %dx, %eax
    ret
ring0_out8:                      /* (port, value) */
    movl %edi, %edx
    movl %esi, %eax
    outb %al, %dx
    ret
ring0_out16:                     /* (port, value) */
    movl %edi, %edx
    movl %esi, %eax
    outw %ax, %dx
    ret
ring0_out32:                     /* (port, value) */
    movl %edi, %edx
    movl %esi, %eax
    outl %eax, %dx
    ret

ring0_interrupts_on:             /* (): CPL 3 goes on with interrupts enabled */
    orl $0x200, 24(%rsp)
    ret

/* (counter, seen): sleep until an interrupt, unless the counter has moved on already. `sti`
 * takes effect after the next instruction, so no interrupt fits between the look and the `hlt`. */
ring0_wait:
    cmpl %esi, (%rdi)
    jne 1f
    sti
    hlt
    cli
1:  ret

ring0_park:                      /* (): for ever */
    cli
    hlt
    jmp ring0_park

    .section .note.GNU-stack, "", @progbits
