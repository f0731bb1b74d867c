"""A driver that is right, and makes a supervisor's mistake show: it does not work alone."""

import os
import signal
import subprocess

from drivers.block_file import FileBlock

HOT = 16 * 4096  # bytes at the beginning, in which storm writes most often
DELAY = 0.4  # seconds, in which everything there is overwritten many times
AFTER = 200  # writes


class Helped(FileBlock):
    """Once has a helper process write, all of the hot bytes, and is dead before it does."""

    def __init__(self, options):
        super().__init__(options)
        self.count = 0
        self.path = options.path

    def write(self, offset, data):
        self.count += 1
        super().write(offset, data)
        mark = self.path.with_name("helper")
        if self.count > AFTER and not mark.exists():
            mark.write_bytes(os.pread(self._fd, HOT, 0))
            command = "sleep $1; exec dd if=$2 of=$3 bs=64K conv=notrunc status=none"
            words = map(str, (DELAY, mark, self.path))
            subprocess.Popen(["sh", "-c", command, "helper", *words], stderr=subprocess.DEVNULL)
            os.kill(os.getpid(), signal.SIGKILL)
