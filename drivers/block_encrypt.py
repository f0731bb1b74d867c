"""A disk that is encrypted on the one it stands on, as `cryptsetup open --type plain --cipher
aes-xts-plain64` with the same key file would have it.

Sectors are independent, so a write that was cut off leaves each of them old or new, as on any disk.

A discard tells whoever sees the disk below which parts are in use. So, as with cryptsetup, there
are none unless `discard` is on; zeros are written, encrypted, as any data.

With `discard` they go through, and a sector of zeros below, as a hole has, is read as zeros here.
That misreads no data: of the 2**4096 contents of a sector one is all zeros when it is encrypted,
and no guest comes upon it, since without the key it would have to see it, and sees zeros. (But one
that read holes without `discard`, as the garbage that they are then, and wrote that elsewhere,
finds zeros there when it is switched on.) Nor does it open a door: who can write to the disk below
makes zeros of what he likes, where without it he makes garbage of that, and XTS notices neither.
"""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.filter import Filter
from drivers.interface import Ability, Child, Claim, DriverError, UnsupportedError
from drivers.zeros import write_zeros

if TYPE_CHECKING:
    from drivers.xts import Xts

SECTOR = 512
HOLE = bytes(SECTOR)
NEW = "new.key"
KEYS = (64, 32)  # bytes: of AES-256 and AES-128, each two keys
LONGEST = 1.0  # seconds that the largest request may spend here: zeros, at some 100 MB/s


class EncryptBlock(Filter):
    """The driver `block.encrypt`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The file with the key, 64 or 32 random bytes, and the disk that gets the secret."""

        key: Path
        child: Child
        discard: bool = False  # tell the disk below what is not in use, for all to see who see it

    @staticmethod
    def claims(options: Options) -> Sequence[Claim]:
        """See Claiming."""
        return (Claim(options.key, exclusive=False), *options.child.claims())

    @staticmethod
    def content(options: Options) -> str:
        """See Identified. The key is told by a hash, which gives nothing away of a random one.
        What was never written is garbage or zeros, so with `discard` it is another content.
        """
        below = options.child.content()
        try:
            key = _key(options.key)
        except DriverError:
            return ""
        secret = hashlib.sha256(key).hexdigest()[:16] + (",discard" if options.discard else "")
        return f"encrypt({secret},{below})" if below else ""

    def __init__(self, options: Options) -> None:
        self._xts = _cipher(options.key)
        super().__init__(options)
        self._discards = options.discard
        self._unmaps = options.discard and Ability.WRITE_ZEROES in self.abilities
        if not self._discards:
            self.abilities &= ~Ability.DISCARD
        if not self.readonly:
            self.abilities |= Ability.WRITE_ZEROES
        if self.patience is not None:
            self.patience += LONGEST
        self._scratch = memoryview(bytearray())

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        secret = self._room(len(into))
        self.child.read(offset, secret)
        self._xts.decrypt(offset // SECTOR, secret, into)
        if self._discards:
            for at in range(0, len(secret), SECTOR):
                if secret[at : at + SECTOR].tobytes() == HOLE:
                    into[at : at + SECTOR] = HOLE

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        secret = self._room(len(data))
        self._xts.encrypt(offset // SECTOR, data, secret)
        self.child.write(offset, secret)

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing. Only a hole may be zeros below; others are written, encrypted."""
        if unmap and self._unmaps:
            self.child.write_zeroes(offset, length, unmap)
        else:
            write_zeros(self.write, offset, length)

    def discard(self, offset: int, length: int) -> None:
        """See Discarding."""
        if not self._discards:
            raise UnsupportedError("the disk below is told nothing, for want of discard=on")
        self.child.discard(offset, length)

    def _room(self, size: int) -> memoryview:
        if len(self._scratch) < size:
            self._scratch = memoryview(bytearray(size))
        return self._scratch[:size]


def _cipher(path: Path) -> "Xts":
    key = _key(path)
    from drivers.xts import Xts  # noqa: PLC0415  # OpenSSL: only those who encrypt wait for it

    try:
        return Xts(key)
    except ValueError as error:
        raise DriverError(f"key {path}: {error}: {_another(len(key))}") from None


def _key(path: Path) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise DriverError(f"key {path} does not exist: {_make(KEYS[0], path)}") from None
    except OSError as error:
        raise DriverError(
            f"key {path} cannot be opened: {error.strerror}; let this user read it"
        ) from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise DriverError(f"key {path} is no file: {_another(KEYS[0])}")
        if found.st_size not in KEYS:
            raise DriverError(
                f"key {path} has {found.st_size} bytes, not 64 (AES-256-XTS) or 32 (AES-128-XTS): "
                f"{_another(KEYS[0])}"
            )
        return os.read(fd, found.st_size)
    finally:
        os.close(fd)


def _make(size: int, path: str | Path) -> str:
    return f"make one with 'head -c {size} /dev/urandom > {path}'"


def _another(size: int) -> str:
    """Beside what is there, which may be somebody's disk."""
    return f"name the right one, or {_make(size, NEW)}"
