#include "cpus.h"

#include "acpi.h"
#include "bytes.h"
#include "cpu.h"
#include "interrupts.h"
#include "layout.h"

#define APIC_COMMAND_LOW 0x300
#define APIC_COMMAND_HIGH 0x310
#define INIT_ASSERT 0x4500
#define START_UP 0x4600
#define SENDING 0x1000

/* A halted or busy host may take its time; a start-up interrupt to a CPU that runs is ignored. */
#define ATTEMPTS 20
#define SPINS_PER_ATTEMPT 5000000

struct task_state {
    uint32_t reserved;
    uint64_t ring0_stack;
    uint8_t rest[TASK_STATE_SIZE - 12];
} __attribute__((packed));

extern char trampoline[], trampoline_end[], ring0_stacks[];
extern uint64_t segments[];
extern struct task_state task_states[MAX_CPUS];
extern volatile uint32_t secondary_number;

static volatile uint32_t running = 1;
static void (*secondary_work)(uint32_t number);

static void command(uint8_t apic_id, uint32_t what)
{
    device_write32(LOCAL_APIC + APIC_COMMAND_HIGH, (uint32_t)apic_id << 24);
    device_write32(LOCAL_APIC + APIC_COMMAND_LOW, what);
    while (device_read32(LOCAL_APIC + APIC_COMMAND_LOW) & SENDING)
        cpu_pause();
}

static void prepare_task_state(uint32_t number)
{
    uint64_t base = (uintptr_t)&task_states[number];
    task_states[number].ring0_stack = (uintptr_t)ring0_stacks + (number + 1) * RING0_STACK;
    segments[FIRST_TSS / 8 + 2 * number] = (TASK_STATE_SIZE - 1) | (base & 0xffffff) << 16 |
                                           0x89UL << 40 | (base >> 24 & 0xff) << 56;
}

/* True when the CPU has reported in. */
static int start_one(uint8_t apic_id, uint32_t number)
{
    prepare_task_state(number);
    secondary_number = number;
    command(apic_id, INIT_ASSERT);
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        command(apic_id, START_UP | TRAMPOLINE >> 12);
        for (unsigned spin = 0; spin < SPINS_PER_ATTEMPT; spin++) {
            if (running > number)
                return 1;
            cpu_pause();
        }
    }
    return 0;
}

uint32_t cpus_start(void (*work)(uint32_t number))
{
    secondary_work = work;
    uint8_t apic_ids[MAX_CPUS];
    size_t count = acpi_processors(apic_ids, MAX_CPUS);
    uint32_t self = local_apic_id();
    memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
    for (size_t i = 0; i < count; i++)
        if (apic_ids[i] != self && !start_one(apic_ids[i], running))
            break;
    return running;
}

void cpu_report_in(uint32_t number)
{
    running++;
    if (secondary_work)
        secondary_work(number);
    for (;;)
        ring0(ring0_park, 0, 0);
}
