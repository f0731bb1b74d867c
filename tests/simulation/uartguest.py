"""A guest's workload at a UART: bytes out, the scratch register written and read back.

No queues here: an access is a request, posted if it is a write. What a read gives is certain, for
accesses take effect in their order and state is handed over with them.
"""

from typing import Any

from microhypervisor.devices.port_device import PortDevice, all_ones
from microhypervisor.inflight import InFlight
from protos.io_pb2 import Access
from service_os.models import uart
from tests.simulation.violation import check

BASE = 0x3F8


class UartGuest:
    """The workload, its judge, and the little that it needs of a driver."""

    queues = ()
    unkicked: tuple[bool, ...] = ()

    def __init__(self, device: PortDevice, log: bytearray) -> None:
        self.device = device
        self.driver = self
        self.failed = False  # ever: then neither output nor scratch is certain
        self.sent = bytearray()
        self._log = log
        self._scratch = 0  # as the guest last wrote it
        self._reads: list[tuple[InFlight, int]] = []  # with what they must give

    @property
    def may_fail(self) -> bool:
        """Whether accesses may fail now."""
        return self.failed

    @may_fail.setter
    def may_fail(self, on: bool) -> None:
        self.failed = self.failed or on

    @property
    def pending(self) -> bool:
        """Whether a read was answered."""
        return any(entry.done for entry, _ in self._reads)

    @property
    def out(self) -> list[dict[int, Any]]:
        """Reads that wait, as Driver has requests."""
        return [{entry.slot: f"read of slot {entry.slot}" for entry, _ in self._reads}]

    def submit(self, queue: int, pick) -> str | None:
        """One access, if it need not wait."""
        if not self.device._free:
            return None
        kind = pick(4)
        if kind == 0:
            self._scratch = 1 + pick(255)
            self.device.port_out(BASE + uart.SCR, 1, self._scratch)
            return f"scratch {self._scratch}"
        if kind == 1:
            access = Access(offset=uart.SCR, size=1, value=all_ones(1))
            with self.device.lock:  # as port_in does, which would wait for the answer
                entry = self.device._submit(access)
            assert entry is not None
            self._reads.append((entry, self._scratch))
            return f"read of scratch, slot {entry.slot}"
        self.sent.append(1 + len(self.sent) % 251)
        self.device.port_out(BASE + uart.RBR_THR, 1, self.sent[-1])
        return f"byte {len(self.sent) - 1}"

    def interrupted(self) -> list[tuple[int, int, int, Any]]:
        """Reads that were answered, as Driver has them."""
        done = [(entry, wanted) for entry, wanted in self._reads if entry.done]
        self._reads = [pair for pair in self._reads if not pair[0].done]
        return [(0, entry.slot, wanted, entry) for entry, wanted in done]

    def complete(self, queue: int, slot: int, wanted: int, entry: InFlight) -> None:
        """Judge what a read gave."""
        assert entry.access is not None
        value = entry.access.value
        check(
            value == wanted or self.failed,
            f"read of scratch, slot {slot}: {value:#x}, not {wanted:#x}",
        )

    def check_output(self) -> None:
        """Nothing is out: each byte was put out once, in order."""
        if not self.failed:
            check(
                self._log == self.sent,
                f"uart: put out {bytes(self._log[-8:])!r} at the end, "
                f"{len(self._log)} bytes, and not {len(self.sent)}",
            )
