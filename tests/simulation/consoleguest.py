"""A guest's console workload: numbered words out and in, none lost, doubled or out of order."""

from dataclasses import dataclass

from microhypervisor.virtio.constants import DESC_WRITE
from service_os.models.console import RECEIVEQ, TRANSMITQ
from tests.simulation.driver import Driver
from tests.simulation.violation import check

WORD = 4
LONGEST = 6  # words of one transmission


@dataclass(slots=True)
class Transmission:
    """Words [first, end) of what the guest puts out; `dropped` if a reset or a failure took it."""

    first: int
    end: int
    dropped: bool = False

    def __str__(self) -> str:
        return f"words {self.first} to {self.end - 1}"


def word(number: int) -> bytes:
    """What the guest puts out, or what is typed; never zero."""
    return (0x80000000 | number).to_bytes(WORD, "little")


class ConsoleGuest:
    """The workload and its judge; `log` is where the driver puts the output."""

    queues = (RECEIVEQ, TRANSMITQ)

    def __init__(self, driver: Driver, log: bytearray) -> None:
        self.driver = driver
        self.may_fail = False
        self.failed = 0
        self.completed = 0
        self.sent: list[Transmission] = []
        self.heard = -1  # the last word of input
        self.missed = 0  # words of input that died with a process
        self._log = log
        self._next = 0

    @staticmethod
    def area_size() -> int:
        """Bytes of guest memory for one request."""
        return LONGEST * WORD

    def submit(self, queue: int, pick) -> str | None:
        """Transmit something, or offer a buffer for input, if a head is free."""
        driver = self.driver
        if not driver.free[queue]:
            return None
        head = driver.free[queue][pick(len(driver.free[queue]))]
        area = driver.areas[queue][head]
        area.poison()
        if queue == RECEIVEQ:
            size = (1 + pick(2)) * WORD
            driver.submit(queue, head, size, [(DESC_WRITE, area.start, size)])
            return f"a receive buffer of {size} (head {head})"
        request = Transmission(self._next, self._next + 1 + pick(LONGEST))
        self._next = request.end
        self.sent.append(request)
        data = b"".join(map(word, range(request.first, request.end)))
        area.view[: len(data)] = data
        cut = WORD * pick(2)
        pieces = [(0, area.start, len(data))]
        if 0 < cut < len(data):
            pieces = [(0, area.start, cut), (0, area.start + cut, len(data) - cut)]
        driver.submit(queue, head, request, pieces)
        return f"{request} (head {head})"

    def complete(self, queue: int, head: int, written: int, request) -> None:
        """Judge what came back."""
        area = self.driver.areas[queue][head]
        self.completed += 1
        if queue == RECEIVEQ:
            self._receive(area, written, request)
        else:
            data = b"".join(map(word, range(request.first, request.end)))
            check(area.view[: len(data)] == data, f"{request}: the buffer was changed")
            check(written == 0, f"{request}: {written} bytes were written into a transmission")
            if self.may_fail:
                request.dropped = True  # whether it failed cannot be told from here
            else:
                check(data in self._log, f"{request}: completed, and not put out")
        area.poison()

    def _receive(self, area, written: int, size: int) -> None:
        if self.may_fail and not written:
            return
        area.check(written, "input")
        check(0 < written <= size, f"input: {written} bytes were written into a buffer of {size}")
        check(written % WORD == 0, f"input: {written} bytes are not whole words")
        for at in range(0, written, WORD):
            number = int.from_bytes(area.view[at : at + WORD], "little") ^ 0x80000000
            check(number > self.heard, f"input: word {number} after word {self.heard}")
            self.missed += number - self.heard - 1
            self.heard = number

    def dropped(self) -> None:
        """The guest reset the device: what is out may be put out or not."""
        for request in self.driver.out[TRANSMITQ].values():
            request.dropped = True

    def check_output(self, end: int) -> None:
        """Nothing is out: the first `end` bytes are all transmissions, each once, in order."""
        log, at = bytes(self._log[:end]), 0
        for request in self.sent:
            data = b"".join(map(word, range(request.first, request.end)))
            if log[at : at + len(data)] == data:
                at += len(data)
            else:
                check(
                    request.dropped,
                    f"console: {request} is not at {at}, where it belongs: {log[at : at + 8]!r}",
                )
        check(at == end, f"console: {end - at} bytes more were put out than the guest sent")

    def scribble(self, queue: int, head: int) -> None:
        """Overwrite what the core has read already."""
        self.driver.scribble(queue, head)
