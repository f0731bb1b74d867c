"""A guest's entropy workload: no word is ever given twice, and no word is nobody's."""

from microhypervisor.virtio.constants import DESC_WRITE
from tests.simulation.driver import Driver
from tests.simulation.violation import check

WORDS = 8  # of a request at most


class EntropyGuest:
    """The workload and its judge; `given` is the source's last word."""

    def __init__(self, driver: Driver, given: list[int]) -> None:
        self.driver = driver
        self.may_fail = False
        self.failed = 0
        self.completed = 0
        self._given = given
        self._seen: set[int] = set()

    queues = (0,)

    @staticmethod
    def area_size() -> int:
        """Bytes of guest memory for one request."""
        return WORDS * 8

    def submit(self, queue: int, pick) -> str | None:
        """Ask for some words if a head is free."""
        driver = self.driver
        if not driver.free[queue]:
            return None
        head = driver.free[queue][pick(len(driver.free[queue]))]
        area, words = driver.areas[queue][head], 1 + pick(WORDS)
        area.poison()
        driver.submit(queue, head, words, [(DESC_WRITE, area.start, words * 8)])
        return f"{words} words (head {head})"

    def complete(self, queue: int, head: int, written: int, request: int) -> None:
        """Judge what came back."""
        area, what = self.driver.areas[queue][head], f"{request} words (head {head})"
        if self.may_fail and not written:
            self.failed += 1
            area.check(0, what)
            return
        area.check(request * 8, what)
        check(written == request * 8, f"{what}: {written} bytes were written")
        for word in area.view[: request * 8].cast("Q"):
            check(word not in self._seen, f"{what}: word {word:#x} was given before")
            check(0 < word <= self._given[0], f"{what}: word {word:#x} is not from the source")
            self._seen.add(word)
        self.completed += 1
        area.poison()

    def scribble(self, queue: int, head: int) -> None:
        """Overwrite what the core has read already."""
        self.driver.scribble(queue, head)
