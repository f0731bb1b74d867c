"""All frames of another driver written into a capture file as well, for Wireshark and tcpdump.

A file that is there is gone on with, so one capture spans all incarnations, and all machines that
were told to use it. A death in the middle of a record leaves a part of it at the end of the file,
which the next incarnation cuts off. Looking for that end means going through the file record by
record: what is there already when a standby is opened, it has looked through by the time it serves.
"""

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers import pcap
from drivers.ethernet import NetFilter, NetOptions
from drivers.interface import Child, Claim, DriverError, MediumError
from drivers.rawio import write_all


class PcapNet(NetFilter):
    """The driver `net.pcap`."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options(NetOptions):
        """The file, and what stands below."""

        path: Path
        child: Child

    def __init__(self, options: Options) -> None:
        self._path = options.path
        try:
            self._fd = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644
            )
        except OSError as error:
            raise DriverError(
                f"capture {self._path} cannot be opened: {error.strerror}; "
                "name a file in a directory that exists and may be written"
            ) from None
        try:
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise DriverError(
                    f"capture {self._path} is no file: name one, which is made if it does not exist"
                )
            self._begun = False
            self._end = self._look(0)
            super().__init__(options)
        except BaseException:
            os.close(self._fd)
            raise
        self._lock = threading.Lock()  # frames come and go on different threads

    @staticmethod
    def claims(options: Options) -> Sequence[Claim]:
        """See Claiming."""
        return (Claim(options.path, exclusive=True), *options.child.claims())

    def begin(self) -> None:
        """See Beginning: what is not a whole record at the end of the file is cut off."""
        self._end = self._look(self._end)
        try:
            os.ftruncate(self._fd, self._end)
            if not self._end:
                write_all(self._fd, 0, pcap.HEADER)
                self._end = len(pcap.HEADER)
        except OSError as error:
            raise DriverError(f"capture {self._path} cannot be written: {error.strerror}") from None
        self._begun = True
        super().begin()

    def send(self, frames: Sequence[memoryview]) -> None:
        """See NetDriver. What cannot be written is sent all the same."""
        try:
            self._write(frames)
        finally:
            self.child.send(frames)

    def start(
        self, deliver: Callable[[Sequence[bytes]], None], changed: Callable[[], None]
    ) -> None:
        """See NetDriver."""

        def note(frames: Sequence[bytes]) -> None:
            with contextlib.suppress(MediumError):  # told when the guest sends
                self._write(frames)
            deliver(frames)

        self.child.start(note, changed)

    def close(self) -> None:
        """See Driver."""
        try:
            self.child.close()
        finally:
            if self._begun:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self._end)  # what a full disk left
            os.close(self._fd)

    def _write(self, frames: Sequence[bytes] | Sequence[memoryview]) -> None:
        now = time.time_ns()
        data = b"".join(part for frame in frames for part in pcap.record(now, frame))
        with self._lock:
            try:
                write_all(self._fd, self._end, data)
            except OSError as error:
                raise MediumError(f"capture {self._path}: {error.strerror}") from None
            self._end += len(data)

    def _look(self, at: int) -> int:
        try:
            return pcap.end_of_records(self._fd, at)
        except pcap.NotOurs:
            raise DriverError(
                f"capture {self._path} is something else: name a file that is empty, missing, "
                "or a little-endian pcap of Ethernet in microseconds"
            ) from None
        except OSError as error:
            raise DriverError(f"capture {self._path} cannot be read: {error.strerror}") from None
