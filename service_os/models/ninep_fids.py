"""What a 9P server must not forget: the guest's fids, and what it answered last.

All of it is told as records to whoever keeps them, so that the next incarnation, which reads them,
knows what this one knew. A request that changes something outside is noted before it is begun (its
*intent*, with what must be known to tell its effect from somebody else's) and again with its answer
and what became of the fids. A request whose answer is noted is not executed a second time; one that
is only intended may have been, and its operation is told so.

Requests are known by their generation, of which each is given out once in a device's life.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from drivers.folders import Listed, OpenFile

MAX_FIDS = 1 << 16
MAX_PATH_BYTES = 16 << 20  # of all fids together
MAX_OPEN = 512  # file descriptors; the other devices of a service OS need some too

INTENT, ANSWER = b"I", b"A"
RESET, SET, DROP, MOVE = b"R", b"S", b"D", b"M"
_GENERATION = struct.Struct("<cI")
_LENGTH = struct.Struct("<I")
_RESET = struct.Struct("<cI")
_SET = struct.Struct("<cIqQI")  # fid, flags or -1, inode, length of the path
_DROP = struct.Struct("<cI")
_MOVE = struct.Struct("<cII")  # lengths of the paths

Entries = list[tuple[int, Listed]]


class Exhausted(Exception):
    """More fids than are kept."""


@dataclass(slots=True)
class Fid:
    """A handle of the guest's: a path and, if it is open, how and what."""

    path: bytes
    flags: int = -1  # of open(2); -1 if it is not open
    inode: int = 0  # of what is open
    file: OpenFile | None = None  # None also if an earlier incarnation opened it
    entries: Entries | None = None  # of a directory, by cookie

    @property
    def is_open(self) -> bool:
        """Whether the guest has opened it."""
        return self.flags >= 0


class Intent(NamedTuple):
    """A change that was begun, perhaps made, and not answered."""

    generation: int
    facts: bytes


@dataclass(slots=True)
class Memory:
    """Fids, message size and answers of one device. `note` keeps a record, or, if there are too
    many, all that its second argument gives instead.
    """

    note: Callable[[bytes, Callable[[], Sequence[bytes]]], None]
    most: int  # answers that are kept
    msize: int = 0  # 0: no session
    fids: dict[int, Fid] = field(default_factory=dict)
    intent: Intent | None = None
    _answers: dict[int, bytes] = field(default_factory=dict)
    _changes: list[bytes] = field(default_factory=list)
    _path_bytes: int = 0
    _opened: int = 0

    def recall(self, records: Sequence[bytes]) -> None:
        """Know what these records tell, oldest first; ValueError if they tell nothing."""
        try:
            for record in records:
                self._recall(record)
        except (struct.error, KeyError) as error:
            raise ValueError(f"notes that cannot be read: {error}") from None

    def answer_to(self, generation: int) -> bytes | None:
        """What a request was answered, if that is known."""
        return self._answers.get(generation) or None

    def intend(self, generation: int, facts: bytes) -> None:
        """This request is about to change something."""
        self.intent = Intent(generation, facts)
        self.note(_GENERATION.pack(INTENT, generation) + facts, self._all)

    def answered(self, generation: int, answer: bytes) -> None:
        """This is the answer, and the fids are as they are by it."""
        changes = b"".join(self._changes)
        self._changes.clear()
        self._keep(generation, answer)
        head = _GENERATION.pack(ANSWER, generation) + _LENGTH.pack(len(answer))
        self.note(head + answer + changes, self._all)

    @property
    def changed(self) -> bool:
        """Whether fids have changed since the last answer."""
        return bool(self._changes)

    def begin_session(self, msize: int) -> None:
        """Forget all before."""
        for fid in self.fids.values():
            close(fid)
        self.fids.clear()
        self._answers.clear()
        self._path_bytes = self._opened = 0
        self.intent = None  # generations may begin anew
        self.msize = msize
        self._changes.append(_RESET.pack(RESET, msize))

    def check_room(self, path: bytes) -> None:
        """Exhausted if there can be no new fid with this path."""
        if len(self.fids) >= MAX_FIDS or self._path_bytes + len(path) > MAX_PATH_BYTES:
            raise Exhausted("too many fids")

    def check_room_to_move(self, old: bytes, new: bytes) -> None:
        """Exhausted if the paths would be too long with `new` for `old`."""
        below = old + b"/"
        longer = sum(f.path == old or f.path.startswith(below) for f in self.fids.values())
        if self._path_bytes + longer * (len(new) - len(old)) > MAX_PATH_BYTES:
            raise Exhausted("too many fids")

    def check_room_to_open(self) -> None:
        """Exhausted if nothing more can be open."""
        if self._opened >= MAX_OPEN:
            raise Exhausted("too many open files")

    def put(self, number: int, fid: Fid) -> None:
        """Have it, instead of what had this number."""
        if number in self.fids:
            close(self._forget(number))
        self.fids[number] = fid
        self._path_bytes += len(fid.path)
        self._opened += fid.is_open
        self._changes.append(_set(number, fid))

    def drop(self, number: int) -> None:
        """Have it no more."""
        close(self._forget(number))
        self._changes.append(_DROP.pack(DROP, number))

    def move(self, old: bytes, new: bytes) -> None:
        """What was at the path `old`, and all below, is at `new`."""
        below = old + b"/"
        for fid in self.fids.values():
            if fid.path == old or fid.path.startswith(below):
                moved = new + fid.path[len(old) :]
                self._path_bytes += len(moved) - len(fid.path)
                fid.path = moved
        self._changes.append(_MOVE.pack(MOVE, len(old), len(new)) + old + new)

    def close(self) -> None:
        """Give back what is open here; the fids stay what they are."""
        for fid in self.fids.values():
            close(fid)

    def _forget(self, number: int) -> Fid:
        fid = self.fids.pop(number)
        self._path_bytes -= len(fid.path)
        self._opened -= fid.is_open
        return fid

    def _keep(self, generation: int, answer: bytes) -> None:
        if self.intent is not None and self.intent.generation == generation:
            self.intent = None
        self._answers[generation] = answer
        if len(self._answers) > self.most:
            del self._answers[next(iter(self._answers))]

    def _all(self) -> list[bytes]:
        """Records that tell all of it."""
        fids = b"".join(_set(number, fid) for number, fid in self.fids.items())
        head = _GENERATION.pack(ANSWER, 0) + _LENGTH.pack(0)
        records = [head + _RESET.pack(RESET, self.msize) + fids]
        for generation, answer in self._answers.items():
            length = _LENGTH.pack(len(answer))
            records.append(_GENERATION.pack(ANSWER, generation) + length + answer)
        if self.intent is not None:
            records.append(_GENERATION.pack(INTENT, self.intent.generation) + self.intent.facts)
        return records

    def _recall(self, record: bytes) -> None:
        kind, generation = _GENERATION.unpack_from(record)
        rest = record[_GENERATION.size :]
        if kind == INTENT:
            self.intent = Intent(generation, rest)
            return
        (length,) = _LENGTH.unpack_from(rest)
        at = _LENGTH.size + length
        self._apply(rest[at:])
        self._changes.clear()
        self._keep(generation, rest[_LENGTH.size : at])

    def _apply(self, told: bytes) -> None:
        """Have happened what a record says of the fids."""
        at = 0
        while at < len(told):
            kind = told[at : at + 1]
            if kind == RESET:
                self.begin_session(_RESET.unpack_from(told, at)[1])
                at += _RESET.size
            elif kind == DROP:
                self.drop(_DROP.unpack_from(told, at)[1])
                at += _DROP.size
            elif kind == SET:
                _, number, flags, inode, length = _SET.unpack_from(told, at)
                at += _SET.size + length
                self.put(number, Fid(told[at - length : at], flags, inode))
            else:
                _, old, new = _MOVE.unpack_from(told, at)
                at += _MOVE.size + old + new
                paths = told[at - old - new : at]
                self.move(paths[:old], paths[old:])


def close(fid: Fid) -> None:
    """Give back what it has open."""
    fid.entries = None
    if fid.file is not None:
        fid.file.close()
        fid.file = None


def _set(number: int, fid: Fid) -> bytes:
    return _SET.pack(SET, number, fid.flags, fid.inode, len(fid.path)) + fid.path
