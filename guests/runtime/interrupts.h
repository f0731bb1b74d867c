/* Device interrupts: IO-APIC pins, edge triggered, all to the boot CPU.
 *
 * The handler only counts. Who waits reads the counter, looks whether there is work, and if not
 * waits for the counter to move on from what was read: no wake-up is lost in between.
 */
#ifndef INTERRUPTS_H
#define INTERRUPTS_H

#include <stdint.h>

/* Builds the IDT, masks the old PICs, turns the local APIC on, enables interrupts. Boot CPU. */
void interrupts_start(void);

/* Lets pin `irq` interrupt the boot CPU; ends the guest if there is no such pin. */
void interrupt_enable(uint32_t irq);

/* How often `irq` has interrupted so far. */
uint32_t interrupt_count(uint32_t irq);

/* Returns at the next interrupt, at once if `irq`'s count is no longer `seen`. May return for an
 * interrupt of another pin. */
void interrupt_wait(uint32_t irq, uint32_t seen);

/* The xAPIC id of the CPU that asks. */
uint32_t local_apic_id(void);

#endif
