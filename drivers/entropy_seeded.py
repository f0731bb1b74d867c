"""Bytes that look random and are the same in each run: for tests that must be repeatable.

They are no secret from anybody who knows the seed. The stream is SHA-256 of the seed and a counter,
block after block. How far it has been given out stands in a file of the machine's, and is written
there before the bytes go out, so that no byte of the stream is given out twice in the life of a
machine, whoever dies when.

Repeatable and never repeated cannot both hold for one request: bytes that a dying incarnation may
already have given to the guest are skipped, not given again. So two runs are the same as long as
the guest asks the same and nobody dies in the middle of a request; a death skips what was asked for
just then, and the stream goes on behind it.
"""

import hashlib
import os
from dataclasses import dataclass

from drivers.interface import DriverError, Keep
from drivers.rawio import medium_error, write_all

BLOCK = hashlib.sha256().digest_size
POSITION = 8  # bytes, little-endian


class SeededEntropy:
    """The driver `entropy.seeded`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """What the stream is made from: guests that share a seed are given the same bytes."""

        seed: int
        keep: Keep

    def __init__(self, options: Options) -> None:
        self._seed = f"splitvisor {options.seed} ".encode()
        self._path = options.keep.path
        self._at = 0
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DriverError(self._cannot("be made", error)) from None

    def begin(self) -> None:
        """See Beginning: until now another incarnation may have given out more."""
        try:
            held = os.pread(self._fd, POSITION, 0)
        except OSError as error:
            raise DriverError(self._cannot("be read", error)) from None
        self._at = int.from_bytes(held, "little")

    def fill(self, into: memoryview) -> None:
        """See EntropyDriver."""
        start = self._at
        end = start + len(into)
        try:
            write_all(self._fd, 0, end.to_bytes(POSITION, "little"))
        except OSError as error:
            raise medium_error(error) from error
        self._at = end
        first = start // BLOCK
        blocks = b"".join(map(self._block, range(first, -(-end // BLOCK))))
        into[:] = blocks[start - first * BLOCK : end - first * BLOCK]

    def close(self) -> None:
        """See Driver."""
        os.close(self._fd)

    def _block(self, number: int) -> bytes:
        return hashlib.sha256(self._seed + number.to_bytes(8, "little")).digest()

    def _cannot(self, what: str, error: OSError) -> str:
        return (
            f"the position in a seeded stream, {self._path}, cannot {what}: {error.strerror}; "
            "the machine's run directory must be there and writable"
        )
