"""One guest: its memory, processors and devices, from creation to destruction.

A guest ends by a power port, by a fault of its own or by the operator; the first reason counts.
Then its vCPU threads end, its devices are asked to finish what they were given (the last line on
a console is such a request), and only then does it count as ended.
"""

import threading
import time
from dataclasses import dataclass
from functools import partial

from microhypervisor import lifecycle
from microhypervisor.bus import AddressMap, VcpuBus
from microhypervisor.cpu.protocol import Complex, Registers, Stop
from microhypervisor.devices.port_device import PortDevice
from microhypervisor.devices.served import ServedDevice, Serving
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import EnvironmentFault, PeerFault, Refusal
from microhypervisor.events import EventLog
from microhypervisor.lifecycle import GuestState
from microhypervisor.limits import DRAIN_TIMEOUT_S
from microhypervisor.memory.ram import GuestMemory
from microhypervisor.sched.policy import Parameters
from microhypervisor.sched.scheduler import Scheduler
from microhypervisor.sched.task import Task
from microhypervisor.virtio.constants import QUEUE_NOTIFY
from protos import core_pb2


@dataclass(frozen=True, slots=True)
class End:
    """Why a guest ended; `reason` is a core_pb2.EndReason."""

    reason: core_pb2.EndReason.ValueType
    exit_status: int = 0
    report: str = ""


_POWER_REASON: dict[int, core_pb2.EndReason.ValueType] = {
    core_pb2.POWER_EXIT: core_pb2.END_EXIT,
    core_pb2.POWER_RESET: core_pb2.END_RESET,
    core_pb2.POWER_OFF: core_pb2.END_POWER_OFF,
}
_FAULT_REASON = {
    Stop.TRIPLE_FAULT: core_pb2.END_TRIPLE_FAULT,
    Stop.FAILED: core_pb2.END_CPU_FAILURE,
}


@dataclass(eq=False)
class Guest:
    """A guest whose devices are attached; see the state table in lifecycle.py."""

    name: str
    memory: GuestMemory
    processors: Complex
    registers: Registers
    parameters: Parameters
    address_map: AddressMap
    devices: list[ServedDevice]
    scheduler: Scheduler
    directory: Serving
    events: EventLog
    state: GuestState = GuestState.CREATED
    end: End | None = None
    dirty_tracking: bool = False
    _reaper: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._ending = threading.Lock()
        self.tasks = [
            Task(f"{self.name}/{v.index}", v, self.processors.sleeps_inside, self.parameters)
            for v in self.processors.vcpus
        ]
        self.scheduler.add(self.tasks)
        self._emit(core_pb2.EVENT_GUEST_CREATED)

    def load(self, address: int, data: bytes) -> None:
        """Put bytes into guest memory before the start."""
        lifecycle.after("load", self.state, self.name)
        self.memory.load(address, data)

    def start(self) -> None:
        """Run vCPU 0 from its initial registers; the others wait for start-up interrupts."""
        state = lifecycle.after("start", self.state, self.name)
        self.processors.memory_changed()
        try:
            self.processors.vcpus[0].reset(self.registers)
        except OSError as error:
            raise PeerFault(f"guest {self.name}: its CPU refuses the registers: {error}") from None
        self.state = state
        self._emit(core_pb2.EVENT_GUEST_STARTED)
        try:
            self._start_threads()
        except RuntimeError as error:
            text = (
                f"guest {self.name}: the host gives it no thread ({error}): stop another guest,"
                " or raise the limit of threads (ulimit -u, pids.max)"
            )
            self._finish(End(core_pb2.END_STOPPED, 0, text))
            self._reap()
            raise EnvironmentFault(text) from None

    def _start_threads(self) -> None:
        for task in self.tasks:
            blocking = partial(self.scheduler.blocking, task)
            self.scheduler.start(
                task, VcpuBus(self.address_map, blocking, self._power), self._fault
            )
        reaper = threading.Thread(target=self._reap, name=f"reaper {self.name}", daemon=True)
        reaper.start()
        self._reaper = reaper

    def pause(self) -> None:
        """Returns when no vCPU runs guest code; I/O in flight still completes."""
        if lifecycle.after("pause", self.state, self.name) != self.state:
            self.scheduler.pause(self.tasks)
            self._move("pause", core_pb2.EVENT_GUEST_PAUSED)

    def resume(self) -> None:
        """Undo pause."""
        if lifecycle.after("resume", self.state, self.name) != self.state:
            self.scheduler.resume(self.tasks)
            self._move("resume", core_pb2.EVENT_GUEST_RESUMED)

    def set_schedule(self, vcpu: int | None, parameters: Parameters) -> None:
        """Schedule one vCPU, or all, otherwise from now on; PeerFault if that does not fit."""
        if vcpu is not None and vcpu >= len(self.tasks):
            raise PeerFault(f"guest {self.name} has no vCPU {vcpu}: it has {len(self.tasks)}")
        self.scheduler.set_parameters(
            self.tasks if vcpu is None else [self.tasks[vcpu]], parameters
        )

    def track_dirty(self, on: bool) -> None:
        """Begin to note which pages are written, or no longer."""
        self.processors.track_dirty(on)
        self.memory.track_dirty(on)
        self.dirty_tracking = on

    def take_dirty(self) -> int:
        """What was written since the last call: bit n is page n of the memory; see GuestMemory."""
        if not self.dirty_tracking:
            text = f"the pages of guest {self.name} are not tracked: turn that on first"
            raise PeerFault(text, Refusal.WRONG_STATE)
        written = (self.processors.take_dirty(), self.memory.take_dirty())
        guests, own = (int.from_bytes(bitmap, "little") for bitmap in written)
        return guests | own

    def stop(self) -> None:
        """End it as if the power were cut; returns when it has ended."""
        self._finish(End(core_pb2.END_STOPPED))
        if self._reaper:
            self._reaper.join()
        elif self.state is GuestState.CREATED:
            self._reap()

    def destroy(self) -> None:
        """Stop it and give everything back."""
        self.stop()
        for device in self.devices:
            self.directory.remove(device)
            device.close()
        self.processors.close()
        self.memory.close()
        self._emit(core_pb2.EVENT_GUEST_DESTROYED)

    def _move(self, verb: str, event: core_pb2.EventKind.ValueType) -> None:
        with self._ending:
            if self.state is GuestState.ENDED:
                return
            self.state = lifecycle.after(verb, self.state, self.name)
        self._emit(event)

    def _emit(self, kind: core_pb2.EventKind.ValueType) -> None:
        self.events.emit(core_pb2.Event(kind=kind, guest=self.name))

    def _power(self, port: core_pb2.PowerPort, value: int) -> None:
        reason = _POWER_REASON[port.action]
        status = value if reason == core_pb2.END_EXIT else 0
        self._finish(End(reason, status))

    def _fault(self, task: Task, stop: Stop) -> None:
        try:
            report = task.vcpu.report()
        except Exception as error:  # whatever it is, the guest has to end
            report = f"vCPU {task.vcpu.index}: {stop.value}; no registers, for {error!r}"
        self._finish(End(_FAULT_REASON[stop], 0, report))

    def _finish(self, end: End) -> None:
        """The first reason counts. Any thread, the vCPUs' own among them."""
        with self._ending:
            if self.end is None:
                self.end = end
        self.scheduler.end(self.tasks)
        for device in self.devices:
            if isinstance(device, PortDevice):
                device.release_waiters()

    def _reap(self) -> None:
        for task in self.tasks:
            if task.thread:
                task.thread.join()
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        for turn, device in enumerate(self.devices):  # each has its share of the time
            device.quiesce((deadline - time.monotonic()) / (len(self.devices) - turn))
        for device in self.devices:
            device.wait_drained(deadline - time.monotonic())
        self._announce_end()

    def _announce_end(self) -> None:
        end = self.end
        assert end is not None
        self.scheduler.remove(self.tasks)  # what was reserved for them is free
        with self._ending:
            self.state = GuestState.ENDED
        event = core_pb2.Event(kind=core_pb2.EVENT_GUEST_ENDED, guest=self.name, text=end.report)
        event.end_reason, event.exit_status = end.reason, end.exit_status
        self.events.emit(event)


def wire(processors: Complex, device: ServedDevice, base: int, irq: int) -> None:
    """Connect an attached device's doorbells and its interrupt line."""
    device.wire_interrupt(processors.interrupt_line(irq))
    if isinstance(device, VirtioDevice):
        for queue in range(device.queue_count):
            processors.doorbell(base + QUEUE_NOTIFY, queue, device.doorbell)
