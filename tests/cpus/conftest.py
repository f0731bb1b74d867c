"""Tiny guests in assembly, a bus that writes down what they do, and both back ends to run them.

Guests load at 0x8000 (a page that a start-up interrupt can name) and start as PVH guests do, in
32-bit protected mode. A write to port 0xf4 ends the run.
"""

import functools
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from control.select import choose
from cpus.kvm.complex import kvm_problem
from cpus.kvm.vcpu import KICK_SIGNAL, install_kick_signal
from microhypervisor.cpu.protocol import Complex, Registers, Stop, Vcpu
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out

LOAD = 0x8000
ROM = 0x200000
MORE_RAM = 0x600000  # one page
HOLE = 0xD0000000  # neither RAM nor ROM: accesses reach the bus
DONE = 0xF4
PATIENCE = 60  # seconds after which a guest counts as hung

# Long mode from `start32`, everything below 1 GiB and from 3 to 4 GiB mapped for everyone, then
# `main` at ring 0. `ring3` drops to CPL 3 at `user`. Gates: a label `gate_N` is set with `gate N`.
LONG_MODE = """
.code32
    mov $0x11007, %eax; mov %eax, 0x10000
    mov $0x12007, %eax; mov %eax, 0x11000
    mov $0x13007, %eax; mov %eax, 0x11018
    xor %ecx, %ecx
    mov $0x87, %eax
    mov $0xc0000087, %ebx
1:  mov %eax, 0x12000(,%ecx,8)
    mov %ebx, 0x13000(,%ecx,8)
    add $0x200000, %eax
    add $0x200000, %ebx
    inc %ecx
    cmp $512, %ecx
    jne 1b
    mov $0x20, %eax; mov %eax, %cr4
    mov $0x10000, %eax; mov %eax, %cr3
    mov $0xc0000080, %ecx; xor %edx, %edx; mov $0x100, %eax; wrmsr
    mov $0x80010033, %eax; mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long_mode
.balign 8
gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff
     .quad 0x0000890050000067, 0
gdt_pointer: .word 55; .quad gdt
idt_pointer: .word 4095; .quad 0x6000
.macro gate vector
    mov $gate_\\vector, %eax
    mov %ax, 0x6000 + 16 * \\vector
    movl $8, 0x6002 + 16 * \\vector
    movw $0x8e00, 0x6004 + 16 * \\vector
    shr $16, %eax
    mov %ax, 0x6006 + 16 * \\vector
.endm
.macro store value, address
    mov $\\address, %edi
    movl $\\value, (%rdi)
.endm
.macro ring3
    pushq $0x1b; pushq $0x7000; pushq $0x202; pushq $0x23; pushq $user
    iretq
.endm
.macro finish
    out %al, $0xf4
1:  jmp 1b
.endm
.code64
long_mode:
    mov $0x10, %eax; mov %eax, %ss; mov %eax, %ds; mov %eax, %es
    mov $0x5000, %esp
    movl $0x5000, 0x5004; movw $0x68, 0x5066
    lidt idt_pointer
    mov $0x28, %eax; ltr %ax
    store 0x1ff, 0xfee000f0
"""

PIN_5_TO_VECTOR_37 = """
    store 0x1b, 0xfec00000; store 0, 0xfec00010
    store 0x1a, 0xfec00000; store 37, 0xfec00010
"""


@functools.cache
def assemble(source: str) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        at = Path(name)
        (at / "guest.S").write_text(source.replace(";", "\n") + "\n")
        subprocess.run(["gcc", "-c", "guest.S", "-o", "guest.o"], cwd=at, check=True)
        link = ["ld", "-Ttext", hex(LOAD), "--oformat", "binary", "-e", "0", "guest.o", "-o", "out"]
        subprocess.run(link, cwd=at, check=True)
        return (at / "out").read_bytes()


class Transcript:
    """A bus that keeps every access; reads answer what the test put in, or all ones."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, int, int]] = []
        self.answers: dict[int, int] = {}
        self.reactions: dict[tuple[str, int], object] = {}

    def _note(self, kind: str, address: int, size: int, value: int) -> None:
        self.lines.append((kind, address, size, value))
        if reaction := self.reactions.get((kind, address)):
            reaction()

    def _answer(self, kind: str, address: int, size: int) -> int:
        value = self.answers.get(address, -1) & ((1 << 8 * size) - 1)
        self._note(kind, address, size, value)
        return value

    def port_in(self, port, size):
        return self._answer("in", port, size)

    def port_out(self, port, size, value):
        self._note("out", port, size, value)

    def mmio_read(self, address, size):
        return self._answer("read", address, size)

    def mmio_write(self, address, size, value):
        self._note("write", address, size, value)

    def outs(self, port: int) -> list[int]:
        return [value for kind, at, _, value in self.lines if (kind, at) == ("out", port)]


class Machine:
    """One guest on a back end, its vCPUs run as the scheduler would."""

    def __init__(
        self, kind: str, source: str, vcpus: int = 1, kernel_irqchip: bool = False
    ) -> None:
        regions = [
            (RegionKind.RAM, 0, 1 << 20),
            (RegionKind.ROM, ROM, 4096),
            (RegionKind.RAM, MORE_RAM, 4096),
        ]
        self.memory = GuestMemory("test", lay_out(regions))
        self.memory.load(LOAD, assemble(source))
        self.memory.load(ROM, bytes(range(64)))
        self.complex: Complex = choose(kind)(self.memory, vcpus, kernel_irqchip)
        self.complex.memory_changed()
        self.cpu = self.complex.vcpus[0]
        self.cpu.reset(Registers(rip=LOAD, rsp=LOAD, rbx=0x1234_5678))
        self.bus = Transcript()
        self.bus.reactions["out", DONE] = self.end
        self._ended = self._closed = False
        self._woken = {vcpu.index: threading.Event() for vcpu in self.complex.vcpus}
        for vcpu in self.complex.vcpus:
            vcpu.wake = self._woken[vcpu.index].set

    def end(self) -> None:
        self._ended = True
        for vcpu in self.complex.vcpus:
            vcpu.kick()
            vcpu.wake()

    def run(self, vcpu: Vcpu | None = None) -> Stop:
        """Run one vCPU until it does not merely halt; fail if it takes too long."""
        vcpu = vcpu or self.cpu
        expired = threading.Event()

        def bark() -> None:
            expired.set()
            self.end()

        watchdog = threading.Timer(PATIENCE, bark)
        watchdog.start()
        try:
            stop = self._run(vcpu)
        finally:
            watchdog.cancel()
            watchdog.join()
        assert not expired.is_set(), f"the guest hangs\n{vcpu.report()}\n{self.bus.lines[-20:]}"
        return stop

    def _run(self, vcpu: Vcpu) -> Stop:
        woken = self._woken[vcpu.index]
        while True:
            woken.clear()
            if self.complex.sleeps_inside or vcpu.runnable() or self._ended:
                stop = vcpu.run(self.bus)
                if stop is not Stop.HALTED:
                    return stop
            else:
                woken.wait()

    def finish(self) -> Transcript:
        """Run all vCPUs until one writes to DONE; the transcript."""
        others = [
            threading.Thread(target=self._run, args=(vcpu,)) for vcpu in self.complex.vcpus[1:]
        ]
        for thread in others:
            thread.start()
        stop = self.run()
        if stop is not Stop.KICKED:
            self.end()
        for thread in others:
            thread.join()
        assert stop is Stop.KICKED, f"{self.cpu.report()}\n{self.bus.lines}"
        return self.bus

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.complex.close()
        self.memory.close()


@pytest.fixture(scope="session", autouse=True)
def _kick_signal():
    before = signal.getsignal(KICK_SIGNAL)
    install_kick_signal()
    yield
    signal.signal(KICK_SIGNAL, before)


@pytest.fixture(
    params=[
        pytest.param(("kvm", False), marks=pytest.mark.kvm, id="kvm"),
        pytest.param(("kvm", True), marks=pytest.mark.kvm, id="kvm, kernel's APICs"),
        pytest.param(("emulated", False), id="emulated"),
    ]
)
def boot(request):
    """Make machines on each back end: boot(source, vcpus=1) -> Machine."""
    yield from _machines(*request.param)


@pytest.fixture
def emulate():
    """Make machines on the emulated CPU."""
    yield from _machines("emulated")


@pytest.fixture
def boot_kvm():
    """Make machines on KVM."""
    yield from _machines("kvm")


@pytest.fixture(
    params=[pytest.param("kvm", marks=pytest.mark.kvm), pytest.param("emulated")],
)
def boot_seen(request):
    """Make machines whose halts are seen: on either CPU, with the core's APICs."""
    yield from _machines(request.param)


def _machines(kind, kernel_irqchip=False):
    if kind == "kvm" and (problem := kvm_problem()):
        pytest.skip(problem)
    made = []

    def make(source: str, vcpus: int = 1) -> Machine:
        made.append(Machine(kind, source, vcpus, kernel_irqchip))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


@pytest.fixture
def long_mode() -> str:
    return LONG_MODE


@pytest.fixture
def pin_5_to_vector_37() -> str:
    return PIN_5_TO_VECTOR_37
