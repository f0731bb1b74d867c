"""The in-flight log: every request that a service OS has been given and has not answered.

It is what makes a service OS expendable. What the next incarnation needs to do all of it again,
in order, stands here: headers and segment lists as validated at first sight. A completion is
accepted once, by slot and generation; the epoch is checked by whoever holds the stream.

A guest may reset its device while requests are out. They become *orphans*: nobody waits for them
any more, but until each is answered or its epoch is over the service OS may still write into
their part of the window, so nothing new may be submitted.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from microhypervisor.virtio.virtqueue import Segment
from protos import io_pb2


@dataclass(slots=True)
class InFlight:
    """One request. `readable` starts behind the header."""

    slot: int
    generation: int
    queue: int
    head: int
    header: bytes
    readable: list[Segment]
    writable: list[Segment]
    readable_bytes: int
    writable_bytes: int
    access: io_pb2.Access | None = None  # of a legacy port; the value is the answer of a read
    done: bool = False  # an access that has been answered


class InflightLog:
    """Requests of one device by slot, in submission order."""

    def __init__(self) -> None:
        self._entries: dict[int, InFlight] = {}  # insertion order is submission order
        self._orphans: dict[int, int] = {}  # slot to generation
        self._turns: dict[int, deque[InFlight]] = {}  # of ordered queues, by queue
        self._generation = 0
        self.answered = 0  # requests and orphans so far: what tells that somebody is at work

    def __len__(self) -> int:
        return len(self._entries)

    def order(self, queues: Iterable[int]) -> None:
        """Requests of these queues are answered in submission order; before the first of them."""
        self._turns = {queue: deque() for queue in queues}

    @property
    def ordered(self) -> bool:
        """Whether there are such queues."""
        return bool(self._turns)

    @property
    def settled(self) -> bool:
        """Whether no orphan is left, so that new requests may go out."""
        return not self._orphans

    @property
    def idle(self) -> bool:
        """Whether the service OS owes nothing."""
        return not self._entries and not self._orphans

    def next_generation(self) -> int:
        """A number that tells this use of a slot from the ones before it."""
        self._generation = (self._generation + 1) & 0xFFFFFFFF
        return self._generation

    def submit(self, entry: InFlight) -> None:
        """Record a request before it leaves the core."""
        if entry.slot in self._entries:
            raise AssertionError(f"slot {entry.slot} is in flight twice")
        self._entries[entry.slot] = entry
        if entry.queue in self._turns:
            self._turns[entry.queue].append(entry)

    def find(self, slot: int, generation: int) -> InFlight | None:
        """The request that a completion names, or None for one that must be refused."""
        entry = self._entries.get(slot)
        if entry is None or entry.generation != generation:
            return None
        return entry

    def overtakes(self, entry: InFlight) -> bool:
        """Whether others of its ordered queue are to be answered first."""
        turns = self._turns.get(entry.queue)
        return turns is not None and turns[0] is not entry

    def retire(self, entry: InFlight) -> None:
        """The request is done; it overtakes none."""
        del self._entries[entry.slot]
        if turns := self._turns.get(entry.queue):
            turns.popleft()
        self.answered += 1

    def is_orphan(self, slot: int, generation: int) -> bool:
        """Whether a reset of the guest's took this request back, and its answer is still owed."""
        return self._orphans.get(slot) == generation

    def absorb_orphan(self, slot: int, generation: int) -> bool:
        """Whether this completion answers an orphan, which is then forgotten."""
        if not self.is_orphan(slot, generation):
            return False
        del self._orphans[slot]
        self.answered += 1
        return True

    def holds(self, queue: int) -> bool:
        """Whether requests of this queue are in flight."""
        return any(entry.queue == queue for entry in self._entries.values())

    def owes(self, parking: frozenset[int]) -> bool:
        """Whether there are orphans, or requests of other queues than these."""
        queues = (entry.queue for entry in self._entries.values())
        return bool(self._orphans) or not all(queue in parking for queue in queues)

    def oldest(self, parking: frozenset[int]) -> int | None:
        """The generation of the oldest request of other queues than these."""
        entries = self._entries.values()
        return next((e.generation for e in entries if e.queue not in parking), None)

    def orphan_all(self) -> None:
        """The guest reset the device."""
        self._orphans.update((e.slot, e.generation) for e in self._entries.values())
        self._entries.clear()
        for turns in self._turns.values():
            turns.clear()

    def begin_epoch(self) -> list[InFlight]:
        """The old incarnation is dead and reaped: what the next one must do first, in order."""
        self._orphans.clear()
        return list(self._entries.values())
