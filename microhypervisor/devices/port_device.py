"""A range of legacy ports whose accesses somebody else serves.

An access is a request like any other: it has a slot in the log and is replayed if its service OS
dies. Writes are posted; a read makes its vCPU wait.
"""

import threading

from microhypervisor.devices.served import Config, Done, Notice, ServedDevice
from microhypervisor.errors import PeerFault
from microhypervisor.inflight import InFlight
from microhypervisor.limits import MAX_BATCH, MAX_SLOTS
from microhypervisor.memory.ram import GuestMemory
from microhypervisor.memory.window import GrantWindow
from protos import io_pb2


def all_ones(size: int) -> int:
    """What a read gives that nobody answers."""
    return (1 << (8 * size)) - 1


class PortDevice(ServedDevice):
    """`count` ports from `base`."""

    def __init__(self, guest: str, config: Config, memory: GuestMemory, notice: Notice) -> None:
        super().__init__(guest, config, memory, notice)
        self.base = config.ports.base
        self.count = config.ports.count
        self._changed = threading.Condition(self.lock)  # a slot came free, or a read was answered
        self._free: list[int] = []
        self._fresh: list[InFlight] = []
        self._closed = False

    def port_in(self, port: int, size: int) -> int:
        """A guest read; waits for the service OS, however long that takes."""
        with self.lock:
            access = io_pb2.Access(offset=port - self.base, size=size, value=all_ones(size))
            if entry := self._submit(access):
                self._changed.wait_for(lambda: entry.done or self._closed)
            return access.value

    def port_out(self, port: int, size: int, value: int, wait: bool = True) -> bool:
        """A guest write; while too many are in flight it waits, or is refused: False."""
        with self.lock:
            if not (wait or self._free or self._closed):
                return False
            access = io_pb2.Access(offset=port - self.base, size=size, write=True, value=value)
            self._submit(access)
            return True

    def collect(self) -> list[InFlight]:
        with self.lock:
            if self.held:
                return []
            entries, self._fresh = self._fresh[:MAX_BATCH], self._fresh[MAX_BATCH:]
            return entries

    def listen(self) -> bool:
        return bool(self._fresh) and not self.held

    def quiesce(self, timeout_s: float) -> None:
        """See ServedDevice. Nothing to do: each access is answered anyway."""

    def release_waiters(self) -> None:
        """The guest ends: reads that wait give all ones, writes vanish."""
        with self.lock:
            self._closed = True
            self._changed.notify_all()

    def _owes(self) -> bool:
        return len(self.log) > len(self._fresh)

    def _forget_fresh(self) -> None:
        self._fresh = []

    def _describe(self, attached: io_pb2.Attached) -> None:
        if attached.device_id or not 0 < attached.slots <= MAX_SLOTS:
            raise PeerFault(f"device {self.config.name}: {self.config.model} is not a port device")
        self._free = list(range(attached.slots))

    def _activation(self) -> io_pb2.CoreMessage | None:
        return None

    def _submit(self, access: io_pb2.Access) -> InFlight | None:
        self._changed.wait_for(lambda: self._free or self._closed)
        if self._closed:
            return None
        generation = self.log.next_generation()
        entry = InFlight(self._free.pop(), generation, 0, 0, b"", [], [], 0, 0, access)
        self.log.submit(entry)
        self._fresh.append(entry)
        self.status.requests += 1
        self.status.bytes_from_guest += access.size if access.write else 0
        self.ring()
        return entry

    def _finish(self, done: list[Done], window: GrantWindow | None) -> bool:
        for entry, completion in done:
            access = entry.access
            assert access is not None
            if not access.write:
                access.value = completion.value & all_ones(access.size)
                self.status.bytes_to_guest += access.size
            entry.done = True
            self._free.append(entry.slot)
        if self._fresh:  # nobody can know of these, but a service OS may guess
            self._fresh = [entry for entry in self._fresh if not entry.done]
        self._changed.notify_all()
        return False
