"""What the guest storm does, by seed and number alone; `guests/runtime/workload.h` is the model.

Nobody has to record ten million operations to know where write number n went.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum

from splitvisor.checks.stamps import mix

NEVER = -1  # the number of the last write to a block that was not written
_WORD = (1 << 64) - 1
_HOT = 16
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"
_UART = 1 << 63


class Kind(Enum):
    """What an operation does."""

    READ = "read"
    WRITE = "write"
    FLUSH = "flush"


@dataclass(frozen=True, slots=True)
class Operation:
    """Of `count` blocks from `first` on; a flush has none."""

    kind: Kind
    first: int = 0
    count: int = 0

    def writes(self, block: int) -> bool:
        """Whether it is a write of this block, among others."""
        return self.kind is Kind.WRITE and self.first <= block < self.first + self.count


@dataclass(frozen=True, slots=True)
class Workload:
    """The arguments that decide; `writes` in percent, `flush` 0 for none."""

    seed: int
    blocks: int
    span: int = 8
    writes: int = 50
    flush: int = 256
    _key: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_key", mix(self.seed))

    def operation(self, number: int) -> Operation:
        """Operation `number`, counted from 0."""
        if self.flush and number % self.flush == self.flush - 1:
            return Operation(Kind.FLUSH)
        r = mix(self._key + number & _WORD)
        few = r >> 8 & 15 or self.span == 1
        count = 1 if few else 2 + (r >> 12 & 15) % (self.span - 1)
        reach = self.blocks if r >> 16 & 7 or self.blocks < _HOT else _HOT
        first = (r >> 32) * reach >> 32
        kind = Kind.WRITE if (r & 0xFF) * 100 < self.writes << 8 else Kind.READ
        return Operation(kind, first, min(count, self.blocks - first))

    def last_writes(self, below: int, failed: Collection[int] = ()) -> list[int]:
        """Per block, the last write numbered below `below` that is not in `failed`, or NEVER.

        It looks back only as far as it must: some ten times the number of blocks.
        """
        last = [NEVER] * self.blocks
        left = self.blocks
        for number in range(below - 1, -1, -1):
            if not left:
                break
            operation = self.operation(number)
            if operation.kind is Kind.WRITE and number not in failed:
                for block in range(operation.first, operation.first + operation.count):
                    if last[block] == NEVER:
                        last[block] = number
                        left -= 1
        return last

    def line(self, number: int) -> str:
        """The text of numbered console line `number`."""
        return make_text(self._key ^ number)

    def uart_line(self, number: int) -> str:
        """The text of line `number` on com1."""
        return make_text(self._key ^ (_UART | number))


def make_text(number: int) -> str:
    """The text that follows from `number`; see guests/runtime/text.h."""
    state = mix(number)
    letters = []
    for i in range(16 + 4 * (state & 15)):
        if i % 8 == 0:
            state = mix(state + i & _WORD)
        letters.append(_ALPHABET[state >> i % 8 * 8 & 63])
    return "".join(letters)
