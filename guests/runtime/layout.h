/* Constants that assembly and C share: selectors, vectors, stack sizes, fixed addresses. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define RING0_CODE 0x08
#define RING0_DATA 0x10
#define RING3_DATA 0x1b /* selector 0x18, requested privilege level 3 */
#define RING3_CODE 0x23
#define RING0_CODE32 0x28
#define FIRST_TSS 0x30 /* one 16-byte descriptor per CPU from here on */

#define MAX_CPUS 64
#define RING0_STACK 1024 /* a power of two, and aligned: its top is found from any address in it */
#define RING3_STACK 4096
#define TASK_STATE_SIZE 104

#define INVALID_OPCODE 6
#define FIRST_INTERRUPT 32 /* the vector of IO-APIC pin 0 */
#define PINS 24
#define SPURIOUS_VECTOR 0xff
#define EXCEPTION_STUB 16 /* bytes per stub */
#define INTERRUPT_STUB 32

#define LOCAL_APIC 0xfee00000
#define LOCAL_APIC_EOI 0xfee000b0
#define IO_APIC 0xfec00000

#define TRAMPOLINE 0x8000 /* below 1 MiB and page aligned, as a start-up interrupt wants it */

#endif
