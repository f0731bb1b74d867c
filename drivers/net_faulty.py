"""A network as bad as one likes: frames are lost, late, doubled and out of order, both ways.

What becomes of a direction's n-th frame follows from the seed alone, counted anew by each
incarnation; when frames that were kept back go on is a matter of time.
"""

import contextlib
import heapq
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from drivers.ethernet import NetFilter, NetOptions
from drivers.interface import Child, MediumError
from drivers.options import Seconds

REORDER_SECONDS = 0.01  # how much longer a frame is kept back so that others overtake it
BACKLOG = 4096  # frames kept back at most; more are lost
CHANCES = ("loss", "duplicate", "reorder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults(NetOptions):
    """How bad: the chances of a frame, from 0 to 1, and how late each is."""

    seed: int = 1
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: Seconds = Seconds(0.0)


class FaultyNet(NetFilter):
    """The driver `net.faulty`."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options(Faults):
        """What goes wrong, and what stands below."""

        child: Child

        def __post_init__(self) -> None:
            NetOptions.__post_init__(self)
            for name in CHANCES:
                if not 0 <= (chance := getattr(self, name)) <= 1:
                    raise ValueError(f"{name}={chance}: give a chance from 0 to 1")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._out = Line(options, "out", self._pass)
        self._in: Line | None = None
        self._options = options

    def begin(self) -> None:
        """See Beginning."""
        super().begin()
        self._out.start()

    def send(self, frames: Sequence[memoryview]) -> None:
        """See NetDriver."""
        self._out.take([bytes(frame) for frame in frames])

    def start(
        self, deliver: Callable[[Sequence[bytes]], None], changed: Callable[[], None]
    ) -> None:
        """See NetDriver."""
        self._in = Line(self._options, "in", deliver)
        self._in.start()
        self.child.start(self._in.take, changed)

    def close(self) -> None:
        """See Driver. Frames that were kept back are lost."""
        self._out.close()
        try:
            self.child.close()
        finally:
            if self._in is not None:
                self._in.close()

    def _pass(self, frames: Sequence[bytes]) -> None:
        with contextlib.suppress(MediumError):  # a frame more that is lost
            self.child.send([memoryview(frame) for frame in frames])


class Line:
    """One direction: `take` frames, which `deliver` gets later, from a thread of the line."""

    def __init__(
        self, faults: Faults, direction: str, deliver: Callable[[Sequence[bytes]], None]
    ) -> None:
        self._fate = Fate(faults, direction)
        self._deliver = deliver
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, bytes]] = []  # a heap, by time and turn
        self._turn = 0
        self._over = False
        self._thread = threading.Thread(target=self._run, name=f"faulty {direction}", daemon=True)

    def start(self) -> None:
        """Begin to hand on."""
        self._thread.start()

    def take(self, frames: Sequence[bytes]) -> None:
        """Frames come in."""
        now = time.monotonic()
        with self._changed:
            kept = self._fate.of(frames)[: max(0, BACKLOG - len(self._waiting))]
            for late, frame in kept:
                self._turn += 1
                heapq.heappush(self._waiting, (now + late, self._turn, frame))
            self._changed.notify()

    def close(self) -> None:
        """Hand nothing on any more; on return nothing is."""
        with self._changed:
            self._over = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over:
            if frames := self._due():
                self._deliver(frames)

    def _due(self) -> list[bytes]:
        """Frames whose time has come; waits until there may be some."""
        frames: list[bytes] = []
        with self._changed:
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                frames.append(heapq.heappop(self._waiting)[2])
            if not frames and not self._over:
                self._changed.wait(self._waiting[0][0] - now if self._waiting else None)
        return frames


class Fate:
    """What becomes of each frame of a direction, one after the other."""

    def __init__(self, faults: Faults, direction: str) -> None:
        self._faults = faults
        self._random = random.Random(f"{faults.seed}/{direction}")

    def of(self, frames: Iterable[bytes]) -> list[tuple[float, bytes]]:
        """Each that goes on, as often as it does, and seconds until then."""
        faults, luck = self._faults, self._random.random
        found = []
        for frame in frames:
            lost, doubled, late = luck(), luck(), luck()
            if lost < faults.loss:
                continue
            delay = faults.delay + (REORDER_SECONDS if late < faults.reorder else 0.0)
            found += [(delay, frame)] * (2 if doubled < faults.duplicate else 1)
        return found
