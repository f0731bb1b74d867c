"""A core as a process, and guests of a few instructions for it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc

from protos import core_pb2 as pb
from protos.core_pb2_grpc import CoreStub

PATIENCE = 60  # seconds; only a failing test waits so long
CPUS = {"kvm": pb.CPU_KVM, "emulated": pb.CPU_EMULATED}
ENTRY = 0x1000  # where guests load and start, in flat 32-bit protected mode
MIB = 1 << 20

POWER = [
    pb.PowerPort(port=0xF4, action=pb.POWER_EXIT),
    pb.PowerPort(port=0x64, mask=0xFF, match=0xFE, action=pb.POWER_RESET),
    pb.PowerPort(port=0x604, mask=0x2000, match=0x2000, action=pb.POWER_OFF),
]


def code(text):
    """Machine code; what follows a semicolon is its assembly."""
    return bytes.fromhex("".join(line.split(";")[0] for line in text.splitlines()))


def exits(status):
    return code(f"B8 {status.to_bytes(4, 'little').hex()} E7F4 F4  ; mov, out %eax,$0xf4, hlt")


COUNTS = code(
    """B9 E8030000       ; mov $1000,%ecx
       FF05 00200000     ; incl 0x2000
       E2F8              ; loop
       A1 00200000       ; mov 0x2000,%eax
       E7F4 F4           ; out %eax,$0xf4; hlt"""
)
SPINS = code("E680 EBFC  ; out %al,$0x80; jmp")
HALTS = code("FA F4 EBFD ; cli; hlt; jmp")
FAULTS = code("0F011D 00300000 0F0B  ; lidt 0x3000 (empty); ud2")
RESETS = code("B0FE E664 F4 ; mov $0xfe,%al; out %al,$0x64; hlt")
POWERS_OFF = code("66BA0406 66B80020 66EF F4 ; mov $0x604,%dx; mov $0x2000,%ax; out %ax,%dx")
READS_A_HOLE = code("A1 000000D0 E7F4 F4 ; mov 0xd0000000,%eax; out %eax,$0xf4")
READS_A_PORT = code("E510 E7F4 F4 ; in $0x10,%eax; out %eax,$0xf4")
WRITES_ROM = code(
    """C705 00004000 78563412   ; movl $0x12345678,0x400000
       A1 00004000 E7F4 F4      ; mov 0x400000,%eax; out %eax,$0xf4"""
)
READS_LSR = code("BA FD030000 31C0 EC E7F4 F4 ; mov $0x3fd,%edx; xor; in %dx,%al; out %eax,$0xf4")


def prints(text, times=1):
    """Writes `text` to port 0x3f8 so many times, then exits with 0."""
    start = code(
        f"""BB {times.to_bytes(4, "little").hex()} ; mov times,%ebx
            BA F8030000                        ; mov $0x3f8,%edx
            BE 00200000                        ; mov $0x2000,%esi
            B9 {len(text).to_bytes(4, "little").hex()}
            AC EE E2FC                         ; lodsb; out %al,%dx; loop
            4B 75EF                            ; dec %ebx; jnz
            31C0 E7F4 F4                       ; xor %eax,%eax; out %eax,$0xf4; hlt"""
    )
    return start.ljust(0x1000, b"\xf4") + text


class Core:
    """`python -m microhypervisor`, and what its launcher does."""

    def __init__(self, directory, *arguments, **how):
        self.socket = directory / "core.sock"
        ready, ready_write = os.pipe()
        command = [sys.executable, "-m", "microhypervisor", f"--listen={self.socket}"]
        self.process = subprocess.Popen(
            [*command, f"--ready-fd={ready_write}", *arguments], pass_fds=[ready_write], **how
        )
        os.close(ready_write)
        assert os.read(ready, 1), "the core did not start"
        os.close(ready)
        self.channel = grpc.insecure_channel(f"unix:{self.socket}")
        self.stub = CoreStub(self.channel)

    def config(self, name, cpu, memory=4 * MIB, vcpus=1, **fields):
        """A guest with RAM from 0 on and the usual power ports."""
        return pb.GuestConfig(
            name=name,
            cpu=CPUS[cpu],
            vcpus=vcpus,
            regions=fields.pop("regions", [pb.Region(base=0, size=memory)]),
            registers=fields.pop("registers", pb.Registers(rip=ENTRY, rsp=ENTRY, cr0=1)),
            power_ports=POWER,
            **fields,
        )

    def create(self, name, cpu, program, **fields):
        """A guest in state CREATED with its program in memory."""
        self.stub.CreateGuest(self.config(name, cpu, **fields), timeout=PATIENCE)
        self.load(name, (ENTRY, program))

    def load(self, name, *segments):
        chunks = [pb.MemoryChunk(guest=name, address=at, data=data) for at, data in segments]
        return self.stub.LoadGuest(iter(chunks), timeout=PATIENCE)

    def call(self, verb, name):
        """StartGuest, PauseGuest, ... of the guest."""
        return getattr(self.stub, f"{verb}Guest")(pb.GuestRef(name=name), timeout=PATIENCE)

    def status(self, name):
        guests = self.stub.ListGuests(pb.ListRequest(), timeout=PATIENCE).guests
        (status,) = [guest for guest in guests if guest.name == name]
        return status

    def watch(self):
        """Events from now on."""
        events = self.stub.WatchEvents(pb.WatchRequest(), timeout=PATIENCE)
        events.initial_metadata()
        return events

    def run(self, name, cpu, program, **fields):
        """Create, start, wait for the end: the last event."""
        self.create(name, cpu, program, **fields)
        events = self.watch()
        self.call("Start", name)
        return until(events, pb.EVENT_GUEST_ENDED, name)

    def terminate(self):
        """End it in order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self):
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def until(events, kind, guest=""):
    """Read events up to the first of this kind, which is returned."""
    for event in events:
        if event.kind == kind and guest in ("", event.guest):
            return event
    raise AssertionError("the watch ended")


class ServiceOs:
    """One incarnation of `python -m service_os`, announced to a core."""

    def __init__(self, core, directory, epoch):
        self.core = core
        io, grants = directory / f"io.{epoch}", directory / f"grants.{epoch}"
        ready, ready_write = os.pipe()
        options = {"name": "main", "epoch": epoch, "listen": io, "grants": grants}
        words = [f"--{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service_os", *words, f"--ready-fd={ready_write}"],
            pass_fds=[ready_write],
            env={**os.environ, "SPLITVISOR_TOKEN": "secret", "SPLITVISOR_RUN_DIR": str(directory)},
        )
        os.close(ready_write)
        assert os.read(ready, 1), "the service OS did not start"
        os.close(ready)
        self.endpoint = pb.ServiceEndpoint(
            name="main", epoch=epoch, address=str(io), grant_address=str(grants), token="secret"
        )

    def connect(self):
        return self.core.stub.ConnectService(self.endpoint, timeout=PATIENCE)

    def kill(self):
        self.process.kill()
        self.process.wait()


def process_files(core):
    """The open files of a core."""
    return Path(f"/proc/{core.process.pid}/fd").iterdir()
