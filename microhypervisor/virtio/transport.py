"""The virtio-mmio register page, version 2 (virtio 1.2, 4.2.2 and 4.2.3), as a state machine.

Registers in, effects out: the page itself decides nothing that lasts longer than a register
access. Bad accesses read as zero and write nothing, as 4.2.2 lets a device do.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from microhypervisor.virtio import constants as v


class Notify(NamedTuple):
    """The driver rang for this queue."""

    queue: int


class QueueReady(NamedTuple):
    """The driver put this queue in service; its addresses are in `Transport.queues`."""

    queue: int


class QueueStopped(NamedTuple):
    """The driver took this queue out of service."""

    queue: int


class DriverOk(NamedTuple):
    """The driver is ready; the device lives."""


class Reset(NamedTuple):
    """The driver reset the device; the registers already are."""


class ConfigWrite(NamedTuple):
    """The driver wrote to the device's configuration space."""

    offset: int
    data: bytes


Effect = Notify | QueueReady | QueueStopped | DriverOk | Reset | ConfigWrite


@dataclass(slots=True)
class QueueRegisters:
    """What the driver said of one queue."""

    max_size: int
    size: int = 0
    ready: bool = False
    desc: int = 0
    driver: int = 0
    device: int = 0


_ADDRESSES = {
    v.QUEUE_DESC_LOW: ("desc", 0),
    v.QUEUE_DESC_HIGH: ("desc", 32),
    v.QUEUE_DRIVER_LOW: ("driver", 0),
    v.QUEUE_DRIVER_HIGH: ("driver", 32),
    v.QUEUE_DEVICE_LOW: ("device", 0),
    v.QUEUE_DEVICE_HIGH: ("device", 32),
}


@dataclass(slots=True)
class Transport:
    """Registers of one device; `features` and `config` are what the service OS described."""

    device_id: int
    features: int
    config: bytes
    queue_sizes: list[int]
    queues: list[QueueRegisters] = field(init=False)
    status: int = 0
    driver_features: int = 0
    interrupt_status: int = 0
    config_generation: int = 0
    _device_sel: int = 0
    _driver_sel: int = 0
    _queue_sel: int = 0

    def __post_init__(self) -> None:
        self._clear()

    @property
    def live(self) -> bool:
        """Whether the driver may use its queues."""
        return bool(self.status & v.DRIVER_OK) and not self.status & v.NEEDS_RESET

    def read(self, offset: int, size: int) -> int:
        """The value of `size` bytes at `offset` of the page."""
        if offset >= v.CONFIG:
            start = offset - v.CONFIG
            return int.from_bytes(self.config[start : start + size], "little")
        if size != 4 or offset % 4:
            return 0
        return self._register(offset)

    def write(self, offset: int, size: int, value: int) -> Effect | None:
        """Store `size` bytes; the caller acts on the effect."""
        if offset >= v.CONFIG:
            start = offset - v.CONFIG
            if start + size > len(self.config):
                return None
            return ConfigWrite(start, value.to_bytes(size, "little"))
        if size != 4 or offset % 4:
            return None
        match offset:
            case v.DEVICE_FEATURES_SEL:
                self._device_sel = value
            case v.DRIVER_FEATURES_SEL:
                self._driver_sel = value
            case v.DRIVER_FEATURES:
                self._accept(value)
            case v.QUEUE_SEL:
                self._queue_sel = value
            case v.QUEUE_NOTIFY:
                return Notify(value) if self.live and value < len(self.queues) else None
            case v.INTERRUPT_ACK:
                self.interrupt_status &= ~value
            case v.STATUS:
                return self._set_status(value)
            case _ if self._queue_sel < len(self.queues):
                return self._set_queue(self.queues[self._queue_sel], offset, value)
        return None

    def _register(self, offset: int) -> int:
        match offset:
            case v.MAGIC_VALUE:
                return v.MAGIC
            case v.VERSION:
                return 2
            case v.DEVICE_ID:
                return self.device_id
            case v.VENDOR_ID:
                return v.VENDOR
            case v.DEVICE_FEATURES:
                word = self.features >> (32 * self._device_sel) if self._device_sel < 2 else 0
                return word & 0xFFFFFFFF
            case v.QUEUE_NUM_MAX if self._queue_sel < len(self.queues):
                return self.queues[self._queue_sel].max_size
            case v.QUEUE_READY if self._queue_sel < len(self.queues):
                return int(self.queues[self._queue_sel].ready)
            case v.INTERRUPT_STATUS:
                return self.interrupt_status
            case v.STATUS:
                return self.status
            case v.CONFIG_GENERATION:
                return self.config_generation
            case _ if v.SHM_LEN_LOW <= offset <= v.SHM_BASE_HIGH:
                return 0xFFFFFFFF  # no shared memory region exists, 4.2.2
        return 0

    def _accept(self, value: int) -> None:
        if self.status & v.FEATURES_OK or self._driver_sel > 1:
            return
        shift = 32 * self._driver_sel
        kept = self.driver_features & ~(0xFFFFFFFF << shift)
        self.driver_features = kept | value << shift

    def _set_status(self, value: int) -> Effect | None:
        value &= 0xFF
        if value == 0:
            self._clear()
            return Reset()
        value |= self.status & v.NEEDS_RESET  # only a reset clears it
        asked = self.driver_features
        if asked & ~self.features or not asked & v.F_VERSION_1:
            value &= ~v.FEATURES_OK  # the driver reads it back and gives up, 3.1.1
        if not value & v.FEATURES_OK:
            value &= ~v.DRIVER_OK  # nor may a running driver take it back and choose anew
        started = value & v.DRIVER_OK and not self.status & v.DRIVER_OK
        self.status = value
        return DriverOk() if started else None

    def _set_queue(self, queue: QueueRegisters, offset: int, value: int) -> Effect | None:
        if offset == v.QUEUE_READY:
            was, queue.ready = queue.ready, bool(value & 1)
            if queue.ready and not was:
                return QueueReady(self._queue_sel)
            return QueueStopped(self._queue_sel) if was and not queue.ready else None
        if queue.ready:
            return None  # 4.2.3.2: not to be changed while in service
        if offset == v.QUEUE_NUM:
            queue.size = value
        elif offset in _ADDRESSES:
            name, shift = _ADDRESSES[offset]
            kept = getattr(queue, name) & ~(0xFFFFFFFF << shift)
            setattr(queue, name, kept | value << shift)
        return None

    def _clear(self) -> None:
        self.queues = [QueueRegisters(size) for size in self.queue_sizes]
        self.status = self.driver_features = self.interrupt_status = 0
        self._device_sel = self._driver_sel = self._queue_sel = 0
