"""A guest's driver of one virtio device: registers, rings, buffers, interrupts.

It does what the specification asks of a driver and no more: it rings only when the device wants to
be rung, and looks at the used ring only after an interrupt, so what is lost is missed. A chain is
two or more descriptors at a head that is a multiple of STRIDE; every buffer is poisoned before it
is given away and surrounded by guards that must stay as they are.
"""

from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.virtio import constants as v
from tests.microhypervisor.ring import Ring
from tests.simulation.violation import check

STRIDE = 4  # descriptors of a chain at most
GUARD = 64
POISON = 0xA5


class Area:
    """Guest memory of one head: a buffer of `size` bytes between two guards."""

    def __init__(self, view, base: int, size: int) -> None:
        self.base = base
        self.size = size
        self.view = view[base + GUARD : base + GUARD + size]
        self.start = base + GUARD
        self._whole = view[base : base + size + 2 * GUARD]
        self._poison = bytes([POISON]) * (size + 2 * GUARD)
        self._whole[:] = self._poison

    def poison(self) -> None:
        """As nobody would have written it."""
        self._whole[:] = self._poison

    def check(self, used: int, what: str) -> None:
        """Only the first `used` bytes may have been touched."""
        left, right = self._whole[:GUARD], self._whole[GUARD + used :]
        clean = left == self._poison[:GUARD] and right == self._poison[GUARD + used :]
        check(clean, f"{what}: the device wrote outside of its buffer")


class Driver:
    """The driver's side of `device`, with everything it needs from guest-physical `base` on."""

    def __init__(self, device: VirtioDevice, base: int, queues: int, heads: int, size: int) -> None:
        self.device = device
        self.memory = device.memory
        self.pending = False  # an interrupt was raised and not yet taken
        self.lines = 0  # interrupts raised
        ring_size = 1
        while ring_size < heads * STRIDE:
            ring_size *= 2
        self.rings = [Ring(self.memory, ring_size, base + 0x1000 * n) for n in range(queues)]
        self.heads = [n * STRIDE for n in range(heads)]
        step = -(-(size + 2 * GUARD) // 64) * 64
        at = base + 0x1000 * queues
        self.areas = [
            {
                head: Area(self.memory.view, at + step * (q * heads + n), size)
                for n, head in enumerate(self.heads)
            }
            for q in range(queues)
        ]
        self.free = [list(self.heads) for _ in range(queues)]
        self.out: list[dict[int, object]] = [{} for _ in range(queues)]
        self.unkicked = [False] * queues
        self.event_idx = False
        self._kicked_at = [0] * queues
        device.wire_interrupt(self._pulse)

    def _pulse(self) -> None:
        self.pending = True
        self.lines += 1

    def _write(self, register: int, value: int) -> None:
        self.device.mmio_write(register, 4, value)

    def start(self, event_idx: bool) -> None:
        """Reset the device and bring it up."""
        self.event_idx = event_idx
        write = self._write
        write(v.STATUS, 0)
        self.pending = False
        offered = 0
        for word in (0, 1):
            write(v.DEVICE_FEATURES_SEL, word)
            offered |= self.device.mmio_read(v.DEVICE_FEATURES, 4) << 32 * word
        wanted = offered if event_idx else offered & ~v.F_EVENT_IDX
        write(v.STATUS, v.ACKNOWLEDGE | v.DRIVER)
        for word in (0, 1):
            write(v.DRIVER_FEATURES_SEL, word)
            write(v.DRIVER_FEATURES, wanted >> 32 * word & 0xFFFFFFFF)
        write(v.STATUS, v.ACKNOWLEDGE | v.DRIVER | v.FEATURES_OK)
        for number, ring in enumerate(self.rings):
            self._put_in_service(number, ring)
        write(v.STATUS, v.ACKNOWLEDGE | v.DRIVER | v.FEATURES_OK | v.DRIVER_OK)
        check(self.device.transport.live, "the device did not come up")

    def _put_in_service(self, number: int, ring: Ring) -> None:
        view = self.memory.view
        view[ring.desc : ring.end] = bytes(ring.end - ring.desc)
        ring.seen = 0
        self._kicked_at[number] = 0
        self.unkicked[number] = False
        for area in self.areas[number].values():
            area.poison()
        self.free[number] = list(self.heads)
        self.out[number] = {}
        for register, value in (
            (v.QUEUE_SEL, number),
            (v.QUEUE_NUM, ring.size),
            (v.QUEUE_DESC_LOW, ring.desc),
            (v.QUEUE_DRIVER_LOW, ring.avail),
            (v.QUEUE_DEVICE_LOW, ring.used),
            (v.QUEUE_READY, 1),
        ):
            self._write(register, value)

    def submit(self, queue: int, head: int, request: object, buffers) -> None:
        """Make a chain available; `buffers` are (flags, address, length), at most STRIDE."""
        self.free[queue].remove(head)
        self.out[queue][head] = request
        ring = self.rings[queue]
        ring.chain(head, *buffers)
        ring.offer(head)
        self.unkicked[queue] = True

    def kick(self, queue: int) -> bool:
        """Ring the doorbell if the device wants that; whether it did."""
        self.unkicked[queue] = False
        ring = self.rings[queue]
        new, old = ring.avail_index, self._kicked_at[queue]
        self._kicked_at[queue] = new
        if self.event_idx:
            wanted = ((new - ring.avail_event - 1) & 0xFFFF) < ((new - old) & 0xFFFF)
        else:
            wanted = not ring.used_flags & v.USED_NO_NOTIFY
        if wanted:
            self._write(v.QUEUE_NOTIFY, queue)
        return wanted

    def interrupted(self) -> list[tuple[int, int, int, object]]:
        """Take the interrupt: (queue, head, written, request) of what came back."""
        self.pending = False
        status = self.device.mmio_read(v.INTERRUPT_STATUS, 4)
        self._write(v.INTERRUPT_ACK, status)
        check(
            not self.device.transport.status & v.NEEDS_RESET,
            "the device gave up: " + self.device.status.needs_reset,
        )
        back = []
        for queue, ring in enumerate(self.rings):
            while True:
                for head, written in ring.take():
                    request = self.out[queue].pop(head, None)
                    check(
                        request is not None,
                        f"queue {queue}: head {head} was completed though "
                        "it is not out: twice, or never submitted",
                    )
                    self.free[queue].append(head)
                    back.append((queue, head, written, request))
                if self.event_idx:
                    ring.interrupt_at(ring.seen)
                if ring.used_index == ring.seen:
                    break
        return back

    def scribble(self, queue: int, head: int) -> None:
        """Overwrite what the core has read already: descriptors of a request that is in its log."""
        ring = self.rings[queue]
        for index in range(head, head + STRIDE):
            ring.describe(index, 0xFFFFF000, 0xFFFF, 0xFFFF, 0xFFFF)

    @property
    def busy(self) -> bool:
        """Whether requests are out."""
        return any(self.out)
