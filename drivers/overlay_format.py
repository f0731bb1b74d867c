"""How the top file of an overlay looks: what stands over a base, and which clusters of it.

    0             the header: of what base, how large, in clusters of how many bytes; never changed
    4096          in which boot of the host the next part was written
    8192          the map as the page cache has it: one byte for each cluster, 1 if it is in the top
    8192 + m      the map as the disk has it; m is the size of a map, a multiple of 4096
    data          cluster n at data + n * cluster, sparse; data is a multiple of the cluster's size

There are two maps because there are two ways to die. A process that is killed leaves the page
cache as it was, so the first map, changed after the data, is right as long as the host is up. When
the power goes, any part of what was not flushed may be missing, map and data alike; then only the
second map counts, where a cluster stands no earlier than its data is durable. Which of the two has
happened is told by the boot that the host was in.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass

from drivers.interface import DriverError

MAGIC = b"SVOVRLAY"
VERSION = 1
PAGE = 4096
SMALLEST, LARGEST = 4096, 1 << 21  # bytes of a cluster
MOST = 1 << 28  # clusters of a new file
_FIXED = struct.Struct(
    "<8sIIQQH"
)  # magic, version, cluster, size, size of the base, length of word
_CRC = struct.Struct("<I")  # the last four bytes of the header: of all before
_LONGEST = 3000  # bytes of a word that is kept as it is

BOOT_AT = PAGE
MAP_AT = 2 * PAGE


@dataclass(frozen=True, slots=True)
class Header:
    """What a top file was made for."""

    cluster: int  # bytes, a power of two
    size: int  # of the disk, in bytes
    base_size: int
    base: str  # the word for the base's content, empty if it has none

    @property
    def clusters(self) -> int:
        """How many there are, the last perhaps cut off."""
        return -(-self.size // self.cluster)

    @property
    def problem(self) -> str:
        """Why no new file can be of these sizes; "" if one can. Whoever serves it has maps in
        memory, of a byte for each cluster.
        """
        if self.clusters <= MOST:
            return ""
        return f"a disk of {self.size} bytes has more than {MOST} clusters of {self.cluster}"

    @property
    def map_size(self) -> int:
        """Bytes of a map, those that round it up included."""
        return _up(self.clusters, PAGE)

    @property
    def durable_at(self) -> int:
        """Where the second map begins."""
        return MAP_AT + self.map_size

    @property
    def data_at(self) -> int:
        """Where cluster 0 begins."""
        return _up(MAP_AT + 2 * self.map_size, self.cluster)

    @property
    def file_size(self) -> int:
        """Of the top file."""
        return self.data_at + self.clusters * self.cluster

    def pack(self) -> bytes:
        """The first page of the file."""
        word = kept(self.base).encode()
        fixed = _FIXED.pack(MAGIC, VERSION, self.cluster, self.size, self.base_size, len(word))
        page = (fixed + word).ljust(PAGE - _CRC.size, b"\0")
        return page + _CRC.pack(zlib.crc32(page))

    @classmethod
    def unpack(cls, page: bytes, who: str) -> "Header":
        """DriverError that names `who` if it is none, or none that we understand."""
        if not page.startswith(MAGIC):
            raise DriverError(
                f"{who} is no top of an overlay: name another file; one that is not there is made"
            )
        version = int.from_bytes(page[8:12], "little")
        if version != VERSION:
            raise DriverError(
                f"{who} has version {version}, not {VERSION}: use the splitvisor that made it"
            )
        if len(page) != PAGE or _CRC.unpack_from(page, PAGE - 4)[0] != zlib.crc32(page[:-4]):
            raise DriverError(
                f"{who} has a header with wrong bytes: it is damaged, take a copy of it"
            )
        _, _, cluster, size, base_size, length = _FIXED.unpack_from(page)
        word = page[_FIXED.size : _FIXED.size + length].decode(errors="replace")
        return cls(cluster, size, base_size, word)


def kept(word: str) -> str:
    """The word for a content as a header keeps it: a hash if it is very long."""
    if len(word.encode()) <= _LONGEST:
        return word
    return f"sha256 {hashlib.sha256(word.encode()).hexdigest()}"


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
