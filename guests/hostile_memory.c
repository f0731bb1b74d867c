/* A guest that reads and writes wherever an address can point.
 *
 * Where there is nothing, reads give all ones and writes vanish; ROM stays as it is; registers may
 * do what they like, but the machine goes on. Nothing here is anybody else's: the same addresses
 * are memory in a larger guest, or the monitor's own. The arguments are mode= (all of the table at
 * the end) and rom_size=0, the bytes of ROM at 0xc0000000.
 */
#include "arguments.h"
#include "bytes.h"
#include "interrupts.h"
#include "layout.h"
#include "memory.h"
#include "print.h"
#include "start_info.h"
#include "trial.h"

#define MIB (1UL << 20)
#define GIB (1UL << 30)
#define ROM 0xc0000000UL
#define REGISTERS 0xd0000000UL /* of virtio devices */
#define AFTER_REGISTERS 0xd0100000UL
#define PRIVATE 0xfff00000UL /* a processor's own pages, on some hosts */
#define STRIDE (3 * MIB + 0x1238)
#define HUGE_PAGE (2 * MIB)
#define DEVICE_PAGE 0xffUL /* as in page_tables.S */

const char guest_name[] = "hostile_memory";

extern uint64_t page_map[];
static uint64_t window[512] __attribute__((aligned(4096)));

/* Ring-0 function for the gate: CPL 3 goes on with interrupts disabled. */
__asm__("ring0_interrupts_off:\n"
        "    andl $~0x200, 24(%rsp)\n"
        "    ret\n");
void ring0_interrupts_off(void);

static uint64_t ram_end(void) { return memory_end((uintptr_t)window); }

static void write_all_sizes(uintptr_t at)
{
    device_write8(at, 0xa5);
    device_write16(at, 0xa5a5);
    device_write32(at, 0xa5a5a5a5);
    device_write64(at, 0xa5a5a5a5a5a5a5a5);
}

static void read_all_sizes(uintptr_t at)
{
    device_read8(at);
    device_read16(at);
    device_read32(at);
    device_read64(at);
}

static void expect_hole(uintptr_t at)
{
    write_all_sizes(at);
    if (device_read8(at) != UINT8_MAX || device_read16(at) != UINT16_MAX ||
        device_read32(at) != UINT32_MAX || device_read64(at) != UINT64_MAX)
        trial_failed("0x%lx does not read as all ones", at);
}

static bool is_hole(uint64_t at)
{
    uint64_t rom_end = ROM + argument_number("rom_size", 0);
    return !(at + 8 > ROM && at < rom_end) && !(at + 8 > REGISTERS && at < AFTER_REGISTERS) &&
           !(at + 8 > IO_APIC && at < IO_APIC + MIB) && at + 8 <= PRIVATE &&
           !(at + 8 > LOCAL_APIC && at < LOCAL_APIC + MIB);
}

static void holes(void)
{
    for (uint64_t at = ram_end(); at < PRIVATE; at += STRIDE)
        if (is_hole(at))
            expect_hole(at);
    expect_hole(ram_end());
    expect_hole(ROM - 8);
    expect_hole(AFTER_REGISTERS);
    expect_hole(IO_APIC - 8);
    expect_hole(LOCAL_APIC - 8);
}

/* Accesses of which one part is memory and the other is not. */
static void edges(void)
{
    uint64_t end = ram_end();
    for (unsigned inside = 1; inside < 8; inside++) {
        uint64_t mask = (1UL << 8 * inside) - 1;
        device_write64(end - 8, 0x1122334455667788);
        device_write64(end - inside, 0x0102030405060708);
        if (device_read64(end - inside) != ((0x0102030405060708 & mask) | ~mask))
            trial_failed("8 bytes, %u of them in RAM, read as 0x%lx", inside,
                         device_read64(end - inside));
        write_all_sizes(REGISTERS - inside);
        read_all_sizes(REGISTERS - inside);
        write_all_sizes(LOCAL_APIC - inside);
        read_all_sizes(LOCAL_APIC - inside);
    }
}

/* Above 4 GiB, as far up as the processor has address lines. */
static void high(void)
{
    uint32_t eax = 0x80000008, ebx, ecx = 0, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    uint64_t top = 1UL << (eax & 0xff);
    const uint64_t places[] = {4 * GIB, 4 * GIB + ram_end(), 5 * GIB, 64 * GIB - HUGE_PAGE,
                               64 * GIB, top / 2, top - GIB, top - HUGE_PAGE};
    uint64_t *directories = (uint64_t *)(page_map[0] & ~0xfffUL);
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++)
        window[i] = places[i] | DEVICE_PAGE;
    directories[4] = (uintptr_t)window | 0x27;
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++)
        for (uint64_t at = 0; at < HUGE_PAGE; at += 0x1fff8)
            expect_hole(4 * GIB + i * HUGE_PAGE + at);
}

static void rom(void)
{
    uint64_t size = argument_number("rom_size", 0);
    uint8_t *before = memory_take(size);
    uint32_t writes = 0;
    memcpy(before, (const void *)ROM, size);
    for (uint64_t at = 0; at < size; at += 248, writes += 4)
        write_all_sizes(ROM + at);
    if (memcmp(before, (const void *)ROM, size) != 0)
        trial_failed("it has changed");
    print("%s: rom: %u writes\n", guest_name, writes);
}

/* Register pages of the interrupt controllers, in every size at every offset. */
static void controllers(void)
{
    for (uintptr_t at = 0; at < 0x400; at++) {
        read_all_sizes(LOCAL_APIC + at);
        read_all_sizes(IO_APIC + at);
    }
}

static bool ends_machine(uint16_t port) { return port == 0x64 || port == 0xf4 || port == 0x604; }

/* All kinds of ports, but those that end the machine. */
static void ports(void)
{
    for (uint32_t port = 0; port < 0xfffc; port += port < 0x700 ? 1 : 97) {
        uint16_t number = (uint16_t)port;
        port_in8(number);
        port_in16(number);
        port_in32(number);
        bool ends = false;
        for (uint16_t i = 0; i < 4; i++)
            ends |= ends_machine((uint16_t)(number + i));
        if (ends)
            continue;
        port_out8(number, 0xa5);
        port_out16(number, 0xa5a5);
        port_out32(number, 0xa5a5a5a5);
    }
}

/* Delivery modes that end or stop the processor they reach: SMI, NMI, INIT, start-up. */
static bool strikes(uint32_t command)
{
    uint32_t mode = command >> 8 & 7;
    return mode == 2 || (mode >= 4 && mode <= 6);
}

/* Everything else that an interrupt controller can be told, to everybody and to nobody. */
static void interrupts(void)
{
    ring0(ring0_interrupts_off, 0, 0);
    for (uint32_t value = 0; value < 256; value += 15) {
        if (strikes(value << 8))
            continue;
        for (uintptr_t at = 0x20; at < 0x400; at += 0x10)
            if (at != 0x300)
                device_write32(LOCAL_APIC + at, value * 0x01010101);
        for (uint32_t index = 0; index < 0x40; index++) {
            device_write32(IO_APIC, index);
            device_write32(IO_APIC + 0x10, value * 0x01010101);
        }
    }
    device_write32(LOCAL_APIC + 0x310, 0x77000000); /* to a processor that does not exist */
    for (uint32_t command = 0; command < 0x10000; command += 0x101)
        if (!strikes(command))
            device_write32(LOCAL_APIC + 0x300, command);
}

int guest_main(void)
{
    static const struct trial trials[] = {
        {"holes", holes}, {"edges", edges},             {"high", high},
        {"rom", rom},     {"controllers", controllers}, {"ports", ports},
        {"interrupts", interrupts},
    };
    return trials_run(trials, sizeof trials / sizeof trials[0]);
}
