"""One Unicorn engine made to behave as a bare x86-64 processor.

What Unicorn lacks for that, and what is done about it:
- It knows its mode from creation; the mode here is always 64 bits, and the registers are then led
  out of long mode as software would. PVH guests start in 32-bit mode, secondary CPUs in real mode.
- It does not say whether it stopped because of HLT or because the instruction budget ran out. Only
  in the second case it has begun one instruction more than it was given (`counter.py`).
- Its register interface does not set segments or the privilege level; `hidden.py` does.
- Stopped from within an access to a device, it forgets the instruction. So it is not stopped;
  `counter.py` lets the run end after that instruction.
- A write into ROM is either an error or takes place; so it is let through for the one instruction
  and undone.
- It permits port I/O at every privilege level; that stays so.
"""

from enum import Enum, auto
from typing import Any, Final, cast

from unicorn import unicorn_const
from unicorn import x86_const as x86
from unicorn.unicorn import Uc, UcError

from cpus.emulated import hidden
from cpus.emulated.counter import MARK, Counter
from cpus.emulated.interrupts import INTERRUPT_FLAG, Entry, Segment, State
from cpus.emulated.paging import AddressSpace, NotMapped
from cpus.kvm import abi
from cpus.report import render
from microhypervisor.cpu.protocol import Bus, Registers
from microhypervisor.memory.ram import PAGE, DirtyPages, GuestMemory, RegionKind

PHYSICAL_END: Final = 1 << 40  # what Unicorn's processor addresses
CR0_PE, CR0_ET, CR0_PG, CR4_PAE = 1 << 0, 1 << 4, 1 << 31, 1 << 5
EFER, EFER_LME = 0xC0000080, 1 << 8
CODE_SELECTOR, DATA_SELECTOR = 0x08, 0x10
FLAT, CODE32, CODE64, DATA = 0xFFFFFFFF, 0xCF9B00, 0xAF9B00, 0xCF9300  # limit, attributes
REAL, REAL_CODE, REAL_DATA = 0xFFFF, 0x9B00, 0x9300
TSS_LIMIT, TSS_BUSY = 0x67, 0x8B00
ANY, READ_EXECUTE = 7, 5  # UC_PROT_*
HLT: Final = 0xF4
INVALID_OPCODE: Final = 6
INSTRUCTION: Final = 15  # bytes of the longest one
MOST_BLOCKS = 1 << 18  # of translated code; half a kilobyte each, and a kernel has a fraction of it
CPUID: Final = b"\x0f\xa2\xeb\x00\xf4"  # cpuid; jmp to the next; hlt
CPUID_RESULT: Final = ("rax", "rbx", "rcx", "rdx")
GENERAL: Final = abi.REGS_NAMES.split()
CONTROL: Final = ("cr0", "cr2", "cr3", "cr4")
NUMBER: Final = {name: getattr(x86, f"UC_X86_REG_{name.upper()}") for name in (*GENERAL, *CONTROL)}
RIP, RSP, RFLAGS, MSR = NUMBER["rip"], NUMBER["rsp"], NUMBER["rflags"], x86.UC_X86_REG_MSR


class End(Enum):
    """Why Engine.run came back."""

    BUDGET = auto()  # or somebody called stop()
    HALT = auto()
    EXCEPTION = auto()  # Engine.exception is its vector


class Engine:
    """One processor on guest memory. Everything but stop() outside of run()."""

    def __init__(self, memory: GuestMemory, outside: Bus, apic_id: int) -> None:
        self._memory = memory
        self._outside = outside
        self._apic_id = apic_id
        uc: Any = cast(Any, Uc)(unicorn_const.UC_ARCH_X86, unicorn_const.UC_MODE_64)
        self._uc = uc
        self.exception = 0
        self._excepted = False
        self._refused = False
        uc.ctl_exits_enabled(True)
        self._hidden = hidden.Hidden(uc)
        self._identity = self._ask_cpuid()
        self._counter = Counter(uc)
        self.executed = 0  # instructions, in the last run()
        self.dirty: DirtyPages | None = None  # what writes are noted in
        self._write_hooks: list[int] = []
        self.fault_address = 0
        hole = 0
        for region in memory.regions:
            self._map_hole(hole, region.base)
            rights = ANY if region.kind is RegionKind.RAM else READ_EXECUTE
            uc.mem_map_ptr(region.base, region.size, rights, memory.host_address + region.offset)
            hole = region.end
        self._map_hole(hole, PHYSICAL_END)
        for kind, function, instruction in (
            (unicorn_const.UC_HOOK_INSN, lambda _, *a: outside.port_in(*a[:2]), x86.UC_X86_INS_IN),
            (
                unicorn_const.UC_HOOK_INSN,
                lambda _, *a: outside.port_out(*a[:3]),
                x86.UC_X86_INS_OUT,
            ),
            (unicorn_const.UC_HOOK_INSN, self._on_cpuid, x86.UC_X86_INS_CPUID),
            (unicorn_const.UC_HOOK_INTR, self._on_exception, 0),
            (unicorn_const.UC_HOOK_MEM_WRITE_PROT, self._on_rom_write, 0),
        ):
            uc.hook_add(kind, function, None, 1, 0, instruction)

    def _map_hole(self, start: int, end: int) -> None:
        def read(_uc: Any, offset: int, size: int, _data: object) -> int:
            return self._outside.mmio_read(start + offset, size)

        def write(_uc: Any, offset: int, size: int, value: int, _data: object) -> None:
            self._outside.mmio_write(start + offset, size, value)

        if start < end:
            self._uc.mmio_map(start, end - start, read, None, write, None)

    def _on_exception(self, uc: Any, number: int, _data: object) -> None:
        self.exception, self._excepted = number, True
        uc.emu_stop()

    def _ask_cpuid(self) -> list[int]:
        """What leaf 1 says by itself. Nothing is mapped yet."""
        uc = self._uc
        uc.mem_map(0, PAGE)
        uc.mem_write(0, CPUID)
        uc.reg_write(NUMBER["rax"], 1)
        uc.emu_start(0, 0, count=MARK)
        uc.mem_unmap(0, PAGE)
        return [uc.reg_read(NUMBER[name]) for name in CPUID_RESULT]

    def _on_cpuid(self, uc: Any, _data: object) -> int:
        leaf = uc.reg_read(NUMBER["rax"]) & 0xFFFFFFFF
        if leaf != 1:
            return 0
        eax, ebx, ecx, edx = self._identity
        values = (eax, ebx & 0xFFFFFF | self._apic_id << 24, ecx, edx)
        for name, value in zip(CPUID_RESULT, values, strict=True):
            uc.reg_write(NUMBER[name], value)
        return 1

    def _on_rom_write(
        self, _uc: Any, _kind: int, address: int, size: int, value: int, _data: object
    ) -> bool:
        self._outside.mmio_write(address, size, value & (1 << 8 * size) - 1)
        self._refused = True
        return False

    def run(self, budget: int) -> End:
        """Execute at most `budget` instructions. Raises UcError when Unicorn cannot go on."""
        self._excepted = self._refused = False
        if self._counter.blocks() > MOST_BLOCKS:
            self._forget_blocks()
        try:
            self._uc.emu_start(self._uc.reg_read(RIP), 0, count=budget)
        except UcError as error:
            if error.errno == unicorn_const.UC_ERR_INSN_INVALID:
                self.exception, self._excepted = INVALID_OPCODE, True
            elif not self._refused:
                raise
        self.executed = self._counter.executed()
        early = self._counter.early() and not self._refused
        if self._refused:
            self._step_over_rom_write()
        if self._excepted:
            return End.EXCEPTION
        return End.HALT if early and self.before(1) == HLT else End.BUDGET  # MWAIT is early as well

    def _forget_blocks(self) -> None:
        self.flush()
        inner = self._hidden.read()
        self._counter.forget()
        self._hidden.write(inner)  # with it, CR2

    def _step_over_rom_write(self) -> None:
        rom = [region for region in self._memory.regions if region.kind is RegionKind.ROM]
        kept = [bytes(self._memory.view[r.offset : r.offset + r.size]) for r in rom]
        for region in rom:
            self._uc.mem_protect(region.base, region.size, ANY)
        self._uc.emu_start(self._uc.reg_read(RIP), 0, count=1)
        for region, data in zip(rom, kept, strict=True):
            self._uc.mem_protect(region.base, region.size, READ_EXECUTE)
            self._memory.view[region.offset : region.offset + region.size] = data

    def stop(self) -> None:
        """End run() soon. Only from what run() calls."""
        self._counter.end()

    def flush(self) -> None:
        """Forget translated code."""
        self._uc.ctl_flush_tb()

    def note_writes(self, dirty: DirtyPages | None) -> None:
        """From now on, note the pages that are written; None: no longer."""
        if dirty is self.dirty:
            return
        self.dirty = dirty
        for hook in self._write_hooks:
            self._uc.hook_del(hook)
        self._write_hooks = []
        ram = [region for region in self._memory.regions if region.kind is RegionKind.RAM]
        for region in ram if dirty else []:
            kind, begin, end = unicorn_const.UC_HOOK_MEM_WRITE, region.base, region.end - 1
            hook = self._uc.hook_add(kind, self._on_write, region.offset - begin, begin, end)
            self._write_hooks.append(hook)
        self.flush()

    def _on_write(
        self, _uc: Any, _kind: int, address: int, size: int, _value: int, shift: int
    ) -> None:
        assert self.dirty is not None
        self.dirty.mark(address + shift, size)

    def start_flat(self, registers: Registers) -> None:
        """Load the registers, with flat segments."""
        self._leave_long_mode()
        self._uc.reg_write(MSR, (EFER, registers.efer))
        for name in ("cr4", "cr3", "cr0"):
            self._uc.reg_write(NUMBER[name], getattr(registers, name))
        code = Segment(CODE_SELECTOR, 0, FLAT, CODE64 if registers.code64 else CODE32)
        self._start(registers, code, Segment(DATA_SELECTOR, 0, FLAT, DATA))

    def start_real(self, page: int) -> None:
        """Real mode at page << 12, as a start-up interrupt does it."""
        self._leave_long_mode()
        self._uc.reg_write(NUMBER["cr0"], CR0_ET)
        code = Segment(page << 8, page << 12, REAL, REAL_CODE)
        self._start(Registers(rip=0), code, Segment(0, 0, REAL, REAL_DATA))

    def _leave_long_mode(self) -> None:
        """From any state to 32 bits without paging: through paging, as only that way leads out."""
        uc = self._uc
        uc.reg_write(NUMBER["cr4"], CR4_PAE)
        uc.reg_write(NUMBER["cr0"], CR0_PG | CR0_ET | CR0_PE)
        uc.reg_write(NUMBER["cr0"], CR0_ET | CR0_PE)
        uc.reg_write(MSR, (EFER, 0))
        uc.reg_write(NUMBER["cr4"], 0)

    def _start(self, registers: Registers, code: Segment, data: Segment) -> None:
        inner = self._hidden.read()
        inner.segments |= dict.fromkeys(("es", "ss", "ds", "fs", "gs"), data)
        inner.segments |= {"cs": code, "tr": Segment(0, 0, TSS_LIMIT, TSS_BUSY)}
        inner.segments |= dict.fromkeys(("ldt", "gdt", "idt"), Segment(0, 0, 0, 0))
        inner.settle()
        self._hidden.write(inner)
        for name in GENERAL:
            self._uc.reg_write(NUMBER[name], getattr(registers, name, 0))

    def space(self) -> AddressSpace:
        """Memory as the processor sees it now."""
        inner = self._hidden.read()
        cr0, _, cr2, cr3, cr4, *_ = inner.control
        self.fault_address = cr2
        long_mode = bool(inner.flags & hidden.LONG_MODE)
        return AddressSpace(self._memory, self.dirty, cr0, cr3, cr4, long_mode)

    def state(self) -> State:
        """What an interrupt needs to know."""
        rip, rflags, rsp = (self._uc.reg_read(number) for number in (RIP, RFLAGS, RSP))
        return State(rip, rflags, rsp, self._hidden.read().segments)

    def interruptible(self) -> bool:
        """Whether interrupts are enabled."""
        return bool(self._uc.reg_read(RFLAGS) & INTERRUPT_FLAG)

    def in_shadow(self) -> bool:
        """Whether the last instruction was STI or loaded SS, so that interrupts are held back."""
        return bool(self._hidden.read().flags & hidden.SHADOW)

    def enter(self, entry: Entry) -> None:
        """Go to a handler at CPL 0."""
        inner = self._hidden.read()
        inner.segments["cs"] = entry.cs
        if entry.ss is not None:
            inner.segments["ss"] = entry.ss
        inner.settle()
        self._hidden.write(inner)
        for number, value in ((RFLAGS, entry.rflags), (RSP, entry.rsp), (RIP, entry.rip)):
            self._uc.reg_write(number, value)

    def code(self, linear: int, size: int) -> int:
        """Code bytes as a number, or -1 where nothing is mapped."""
        try:
            return self.space().read(linear, size)
        except NotMapped:
            return -1

    def before(self, count: int) -> int:
        """The last `count` bytes before the next instruction, or -1."""
        return self.code(self._linear_rip() - count, count)

    def _linear_rip(self) -> int:
        return int(self._uc.reg_read(RIP)) + self._hidden.read().segments["cs"].base

    def report(self, index: int, reason: str) -> str:
        """Registers as text."""
        inner = self._hidden.read()
        values = {name: int(self._uc.reg_read(NUMBER[name])) for name in (*GENERAL, *CONTROL)}
        values["efer"] = int(self._uc.reg_read(MSR, EFER))
        texts = {
            name: f"{selector:04x} base {base:x} limit {limit:x} attributes {attributes >> 8:x}"
            for name, (selector, base, limit, attributes) in inner.segments.items()
        }
        linear = self._linear_rip()
        try:
            code = self.space().fetch(linear, min(INSTRUCTION, PAGE - linear % PAGE))
        except NotMapped:
            code = b""
        return render(index, reason, values, texts, code)

    def close(self) -> None:
        """Give the engine back."""
        del self._uc, self._hidden, self._counter
