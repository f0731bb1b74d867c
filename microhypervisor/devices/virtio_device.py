"""A virtio-mmio device whose requests somebody else serves: transport, queues and log together.

A slot is a queue and a head descriptor, so a slot cannot be in flight twice as long as the queue
does not hand a head out twice; and a guest that breaks a rule makes only its own device stop.
"""

from microhypervisor.devices.served import Config, Done, Notice, ServedDevice
from microhypervisor.errors import GuestFault, PeerFault
from microhypervisor.inflight import InFlight
from microhypervisor.limits import (
    MAX_BATCH,
    MAX_HEADER,
    MAX_QUEUE_SIZE,
    MAX_QUEUES,
    MAX_SLOTS,
)
from microhypervisor.memory.ram import GuestMemory
from microhypervisor.memory.window import GrantWindow
from microhypervisor.virtio import constants as v
from microhypervisor.virtio import transport as t
from microhypervisor.virtio.virtqueue import Chain, Segment, Virtqueue
from protos import io_pb2


class VirtioDevice(ServedDevice):
    """Registers at one MMIO page, queues in guest RAM, requests to a service OS."""

    def __init__(self, guest: str, config: Config, memory: GuestMemory, notice: Notice) -> None:
        super().__init__(guest, config, memory, notice)
        self.transport = t.Transport(0, 0, b"", [])
        self._queues: list[Virtqueue] = []
        self._slot_base: list[int] = []
        self._header_bytes: list[int] = []

    @property
    def queue_count(self) -> int:
        """How many queues the device has, once attached."""
        return len(self._queues)

    def mmio_read(self, offset: int, size: int) -> int:
        """A guest read of the register page."""
        return self.transport.read(offset, size)

    def mmio_write(self, offset: int, size: int, value: int) -> None:
        """A guest write to the register page."""
        with self.lock:
            effect = self.transport.write(offset, size, value)
            if effect is not None:
                self._act(effect)

    def collect(self) -> list[InFlight]:
        """See ServedDevice. A guest that breaks a rule has its device stopped instead."""
        with self.lock:
            entries: list[InFlight] = []
            live = self.transport.live and not self.held
            if not live or not self.log.settled or self._control:
                return entries  # what the guest did before is told before
            for queue in self._queues:
                if queue.enabled and len(entries) < MAX_BATCH:
                    queue.silence()
                    try:
                        chains = queue.pop(MAX_BATCH - len(entries))
                    except GuestFault as fault:
                        self._stop(str(fault))
                        break
                    entries += [self._submit(queue.index, chain) for chain in chains]
            self.status.requests += len(entries)
            self.status.bytes_from_guest += sum(entry.readable_bytes for entry in entries)
            if not entries:
                self._drained.notify_all()
            return entries

    def listen(self) -> bool:
        with self.lock:
            if not self.transport.live or not self.log.settled or self.held:
                return False
            asked = [queue.listen() for queue in self._queues if queue.enabled]  # all of them
            return any(asked)

    def quiesce(self, timeout_s: float) -> None:
        self.ring()
        with self.lock:
            self._wait(lambda: self._pending() or self._owes(), timeout_s)
            self.transport.write(v.STATUS, 4, 0)
            self._reset()

    def change_config(self, config_space: bytes) -> None:
        with self.lock:
            if len(config_space) != len(self.transport.config):
                raise PeerFault(f"device {self.config.name}: the configuration space changed size")
            self.transport.config = config_space
            self.transport.config_generation = (self.transport.config_generation + 1) & 0xFFFFFFFF
            self._interrupt_config()

    def _config_space(self) -> bytes:
        return self.transport.config

    def _pending(self) -> bool:
        live = self.transport.live
        return live and any(queue.enabled and queue.pending for queue in self._queues)

    def _describe(self, attached: io_pb2.Attached) -> None:
        sizes = [queue.max_size for queue in attached.queues]
        headers = [queue.header_bytes for queue in attached.queues]
        nonsense = ""
        if not attached.device_id or not 0 < len(sizes) <= MAX_QUEUES or sum(sizes) > MAX_SLOTS:
            nonsense = f"id {attached.device_id} with queues {sizes} makes no sense"
        elif any(not 0 < size <= MAX_QUEUE_SIZE or size & (size - 1) for size in sizes):
            nonsense = f"queue sizes {sizes} are not powers of two"
        elif attached.features & v.RESERVED_FEATURES:
            nonsense = f"features {attached.features:#x} are the transport's"
        elif max(headers) > MAX_HEADER:
            nonsense = f"headers of {max(headers)} bytes are too long"
        if nonsense:
            raise PeerFault(f"device {self.config.name}: {nonsense}")
        features = attached.features | v.CORE_FEATURES
        self.transport = t.Transport(attached.device_id, features, attached.config_space, sizes)
        self._queues = [Virtqueue(self.memory, i, size) for i, size in enumerate(sizes)]
        self._slot_base = [sum(sizes[:i]) for i in range(len(sizes))]
        self._header_bytes = headers
        self.parking = frozenset(i for i, queue in enumerate(attached.queues) if queue.parks)
        self.log.order(i for i, queue in enumerate(attached.queues) if queue.ordered)

    def _activation(self) -> io_pb2.CoreMessage | None:
        if not self.transport.status & v.DRIVER_OK:
            return None
        features = self.transport.driver_features
        return io_pb2.CoreMessage(activate=io_pb2.Activate(features=features))

    def _act(self, effect: t.Effect) -> None:
        match effect:
            case t.Notify():
                self.ring()
            case t.QueueReady(index) if not self.transport.status & v.NEEDS_RESET:
                try:
                    self._enable(index)
                except GuestFault as fault:
                    self._stop(str(fault))
            case t.QueueStopped(index):
                self._queues[index].disable()
                if self.log.holds(index):
                    self._stop(f"queue {index}: stopped with requests in flight")
            case t.DriverOk():
                if activation := self._activation():
                    self.tell(activation)
            case t.Reset():
                self._reset()
            case t.ConfigWrite(offset, data):
                write = io_pb2.ConfigWrite(offset=offset, data=data)
                self.tell(io_pb2.CoreMessage(config_write=write))

    def _enable(self, index: int) -> None:
        r = self.transport.queues[index]
        event_idx = bool(self.transport.driver_features & v.F_EVENT_IDX)
        self._queues[index].enable(r.size, r.desc, r.driver, r.device, event_idx)

    def _reset(self) -> None:
        for queue in self._queues:
            queue.disable()
        self.log.orphan_all()
        self.status.needs_reset = ""
        self.tell(io_pb2.CoreMessage(reset=io_pb2.Reset()))

    def _stop(self, reason: str) -> None:
        self.status.needs_reset = reason
        self.transport.status |= v.NEEDS_RESET
        self.notice(reason)
        self._interrupt_config()

    def _interrupt_config(self) -> None:
        if self.transport.status & v.DRIVER_OK:
            self.transport.interrupt_status |= v.INT_CONFIG
            self._interrupt()

    def _submit(self, queue: int, chain: Chain) -> InFlight:
        wanted = self._header_bytes[queue]
        header, readable = self._split(chain.readable, wanted) if wanted else (b"", chain.readable)
        entry = InFlight(
            self._slot_base[queue] + chain.head,
            self.log.next_generation(),
            queue,
            chain.head,
            header,
            readable,
            chain.writable,
            chain.readable_bytes - len(header),
            chain.writable_bytes,
        )
        self.log.submit(entry)
        return entry

    def _split(self, segments: list[Segment], wanted: int) -> tuple[bytes, list[Segment]]:
        """The first `wanted` bytes of the segments, copied, and the segments without them."""
        ram = self.memory.view
        if segments and segments[0][1] == wanted:  # where drivers put it
            at = segments[0][0]
            return bytes(ram[at : at + wanted]), segments[1:]
        header = b""
        rest: list[Segment] = []
        for at, length in segments:
            take = min(length, wanted - len(header))
            header += bytes(ram[at : at + take])
            if length > take:
                rest.append((at + take, length - take))
        return header, rest

    def _finish(self, done: list[Done], window: GrantWindow | None) -> bool:
        ram, total = self.memory.view, 0
        used: dict[int, list[tuple[int, int]]] = {}
        for entry, completion in done:
            written = completion.written
            if written:
                total += written
                if window is None or not window.fits(entry.readable_bytes, entry.writable_bytes):
                    data = memoryview(completion.payload[:written].ljust(written, b"\0"))
                else:
                    data = window.written(entry.slot, entry.readable_bytes, written)
                taken = 0
                for at, length in entry.writable:
                    part = data[taken : taken + length]
                    ram[at : at + len(part)] = part
                    taken += length
                    if taken >= written:
                        break
            used.setdefault(entry.queue, []).append((entry.head, written))
        self.status.bytes_to_guest += total
        if (dirty := self.memory.dirty) is not None:
            for at, length in (segment for entry, _ in done for segment in entry.writable):
                dirty.mark(at, length)
        wanted = False
        for index, elements in used.items():
            queue = self._queues[index]
            if queue.enabled:
                wanted |= queue.push(elements)
        if wanted:
            self.transport.interrupt_status |= v.INT_VRING
        return wanted
