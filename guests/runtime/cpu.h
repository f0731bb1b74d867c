/* The few instructions that C has no words for, and register-sized device accesses.
 *
 * Device accesses are written out in assembly so that the compiler cannot fold one into an
 * arithmetic instruction or change its size: emulators and hypervisors decode them.
 */
#ifndef CPU_H
#define CPU_H

#include <stdint.h>

uint64_t ring0(void *function, uint64_t first, uint64_t second);
void ring0_in8(void), ring0_in16(void), ring0_in32(void);
void ring0_out8(void), ring0_out16(void), ring0_out32(void);
void ring0_interrupts_on(void), ring0_wait(void), ring0_park(void);

static inline void port_out8(uint16_t port, uint8_t value) { ring0(ring0_out8, port, value); }
static inline void port_out16(uint16_t port, uint16_t value) { ring0(ring0_out16, port, value); }
static inline void port_out32(uint16_t port, uint32_t value) { ring0(ring0_out32, port, value); }
static inline uint8_t port_in8(uint16_t port) { return (uint8_t)ring0(ring0_in8, port, 0); }
static inline uint16_t port_in16(uint16_t port) { return (uint16_t)ring0(ring0_in16, port, 0); }
static inline uint32_t port_in32(uint16_t port) { return (uint32_t)ring0(ring0_in32, port, 0); }

#define DEVICE_ACCESS(bits, type, mov)                                                             \
    static inline type device_read##bits(uintptr_t address)                                        \
    {                                                                                              \
        type value;                                                                                \
        __asm__ volatile(mov " (%1), %0" : "=r"(value) : "r"(address) : "memory");                 \
        return value;                                                                              \
    }                                                                                              \
    static inline void device_write##bits(uintptr_t address, type value)                           \
    {                                                                                              \
        __asm__ volatile(mov " %0, (%1)" : : "r"(value), "r"(address) : "memory");                 \
    }

DEVICE_ACCESS(8, uint8_t, "movb")
DEVICE_ACCESS(16, uint16_t, "movw")
DEVICE_ACCESS(32, uint32_t, "movl")
DEVICE_ACCESS(64, uint64_t, "movq")
#undef DEVICE_ACCESS

static inline void cpu_pause(void) { __asm__ volatile("pause" : : : "memory"); }

/* Cycles since some start; may jump between CPUs. */
static inline uint64_t cycles(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* x86 keeps loads and stores in order, if the compiler does, but for a load that overtakes an
 * earlier store. */
static inline void order_accesses(void) { __asm__ volatile("" : : : "memory"); }
static inline void order_store_load(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif
