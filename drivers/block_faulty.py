"""A disk with faults, for testing guests and the drivers above: errors, delays and torn writes.

A torn write is one of which only the first sectors are written. It fails, as an error does: a disk
that says that all is well when it is not would test nobody's care, but break a promise.

Requests are counted by kind, from 1 and in each incarnation anew. So what happens is the same for
the same requests in one incarnation; after a recovery the counting starts again, with the replayed
requests first, and a line of a script can come true once in each.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.disk_faults import Chances, Fault, Request, parse
from drivers.filter import Filter
from drivers.interface import Child, Claim, DriverError, MediumError
from drivers.options import Seconds


class FaultyBlock(Filter):
    """The driver `block.faulty`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """Chances from 0 to 1 of each request, the longest delay, or a script of faults, or all."""

        child: Child
        seed: int = 0
        errors: float = 0.0
        torn: float = 0.0
        delay: Seconds = Seconds(0.0)
        script: Path | None = None

        def __post_init__(self) -> None:
            for name, chance in (("errors", self.errors), ("torn", self.torn)):
                if not 0 <= chance <= 1:
                    raise ValueError(f"{name}={chance} is no chance: give it from 0 to 1")

    @staticmethod
    def claims(options: Options) -> Sequence[Claim]:
        """See Claiming."""
        script = (Claim(options.script, exclusive=False),) if options.script else ()
        return (*script, *options.child.claims())

    def __init__(self, options: Options) -> None:
        self._script = parse(_text(options.script), f"script {options.script}")
        self._chances = Chances(options.seed, options.errors, options.torn, options.delay)
        super().__init__(options)
        self._counts: Counter[str] = Counter()
        if self.patience is not None:
            late = max((fault.delay for fault in self._script.values()), default=0.0)
            self.patience += options.delay + late

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        self._meet("read", len(into))
        self.child.read(offset, into)

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        torn = self._meet("write", len(data))
        if torn is None:
            self.child.write(offset, data)
            return
        whole = min(torn, len(data) - 512)
        if whole > 0:
            self.child.write(offset, data[:whole])
        raise MediumError(f"write {self._counts['write']} was torn behind {whole} bytes")

    def flush(self) -> None:
        """See BlockDriver."""
        self._meet("flush")
        self.child.flush()

    def discard(self, offset: int, length: int) -> None:
        """See Discarding."""
        self._meet("discard", length)
        self.child.discard(offset, length)

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing."""
        self._meet("zeroes", length)
        self.child.write_zeroes(offset, length, unmap)

    def _meet(self, kind: str, length: int = 0) -> int | None:
        """Have happen what is due; how many bytes are to be written of a torn write."""
        self._counts[kind] += 1
        request = Request(kind, self._counts[kind])
        chance = self._chances.fault(request, length)
        fault = self._script.get(request, Fault())
        if delay := chance.delay + fault.delay:
            time.sleep(delay)
        if chance.error or fault.error:
            raise MediumError(f"{kind} {request.number} was to fail")
        return chance.torn if fault.torn is None else fault.torn


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text()
    except OSError as error:
        raise DriverError(f"script {path} cannot be read: {error.strerror}: name one") from None
    except UnicodeDecodeError:
        raise DriverError(f"script {path} is no text: write it like 'read 5 error'") from None
