"""Directories as a guest reads them: piece by piece, each from the cookie where the last one ended.

Cookies depend on the names alone, so that where a guest was in a directory means the same to each
incarnation, whatever came and went meanwhile. A directory is listed as a whole and kept in their
order; of large ones only the last that were read are, or a guest could fill the host's memory.
"""

import errno
import stat
from bisect import bisect_right
from hashlib import blake2b

from drivers.folders import FolderDriver, Listed, OpenFile
from service_os.models import ninep_wire as wire
from service_os.models.ninep_fids import Entries, Fid
from service_os.models.ninep_turn import above, error

KEPT = 1 << 17  # names, of some hundred bytes each, besides those of the directory that is read


class Listings:
    """Of all directories that are being read."""

    def __init__(self, driver: FolderDriver) -> None:
        self._driver = driver
        self._kept: list[Fid] = []  # whose entries are, the one that was listed last at the end

    def piece(self, fid: Fid, file: OpenFile, offset: int, room: int) -> bytes:
        """The entries behind a cookie, as many as there is room for; none at the end."""
        if fid.entries is None or not offset:
            self._make_room(fid)
            fid.entries = self._list(fid, file)
            self._kept.append(fid)
        told = bytearray()
        for at in range(bisect_right(fid.entries, offset, key=_place), len(fid.entries)):
            cookie, listed = fid.entries[at]
            one = wire.entry(listed.name, listed.inode, listed.mode, cookie)
            if len(told) + len(one) > room:
                if not told:
                    raise error(errno.EINVAL)
                break
            told += one
        return bytes(told)

    def _list(self, fid: Fid, file: OpenFile) -> Entries:
        names = file.names()
        parent = self._driver.stat(above(fid.path)).st_ino
        entries = [
            (1, Listed(b".", fid.inode, stat.S_IFDIR)),
            (2, Listed(b"..", parent, stat.S_IFDIR)),
            *((_cookie(listed.name), listed) for listed in names),
        ]
        entries.sort(key=_place)
        return entries

    def _make_room(self, fid: Fid) -> None:
        fid.entries = None
        self._kept = [other for other in self._kept if other.entries is not None]
        while sum(len(other.entries or ()) for other in self._kept) > KEPT:
            self._kept.pop(0).entries = None


def _place(entry: tuple[int, Listed]) -> int:
    return entry[0]


def _cookie(name: bytes) -> int:
    """More than 2, and a positive number of 63 bits."""
    return 3 + (int.from_bytes(blake2b(name, digest_size=8).digest(), "little") >> 2)
