#include "interrupts.h"

#include "cpu.h"
#include "exit.h"
#include "layout.h"

#define APIC_ID 0x20
#define APIC_SPURIOUS 0xf0
#define APIC_SOFTWARE_ENABLE 0x100

#define IO_APIC_SELECT 0x00
#define IO_APIC_WINDOW 0x10
#define IO_APIC_REDIRECTION 0x10 /* two registers per pin */

#define PRESENT_INTERRUPT_GATE 0x8e

struct gate {
    uint16_t offset_low, selector;
    uint8_t stack_table, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

extern struct gate interrupt_gates[256];
extern volatile uint32_t interrupt_counts[PINS];
extern char exception_stubs[], interrupt_stubs[], spurious_stub[];

static void set_gate(unsigned vector, const char *handler)
{
    uintptr_t address = (uintptr_t)handler;
    interrupt_gates[vector] = (struct gate){
        .offset_low = (uint16_t)address,
        .selector = RING0_CODE,
        .type = PRESENT_INTERRUPT_GATE,
        .offset_middle = (uint16_t)(address >> 16),
    };
}

void interrupts_start(void)
{
    for (unsigned i = 0; i < FIRST_INTERRUPT; i++)
        set_gate(i, exception_stubs + i * EXCEPTION_STUB);
    for (unsigned i = 0; i < PINS; i++)
        set_gate(FIRST_INTERRUPT + i, interrupt_stubs + i * INTERRUPT_STUB);
    set_gate(SPURIOUS_VECTOR, spurious_stub);

    port_out8(0x21, 0xff);
    port_out8(0xa1, 0xff);
    device_write32(LOCAL_APIC + APIC_SPURIOUS, APIC_SOFTWARE_ENABLE | SPURIOUS_VECTOR);
    ring0(ring0_interrupts_on, 0, 0);
}

static void io_apic_write(uint32_t index, uint32_t value)
{
    device_write32(IO_APIC + IO_APIC_SELECT, index);
    device_write32(IO_APIC + IO_APIC_WINDOW, value);
}

void interrupt_enable(uint32_t irq)
{
    if (irq >= PINS)
        fail("interrupt %u: the IO-APIC has only %u pins", irq, PINS);
    io_apic_write(IO_APIC_REDIRECTION + 2 * irq + 1, local_apic_id() << 24);
    io_apic_write(IO_APIC_REDIRECTION + 2 * irq, FIRST_INTERRUPT + irq);
}

uint32_t interrupt_count(uint32_t irq) { return interrupt_counts[irq]; }

void interrupt_wait(uint32_t irq, uint32_t seen)
{
    ring0(ring0_wait, (uintptr_t)&interrupt_counts[irq], seen);
}

uint32_t local_apic_id(void) { return device_read32(LOCAL_APIC + APIC_ID) >> 24; }
