"""A driver that is right, and makes a supervisor's mistake show: it does not work alone."""

import os
import signal
import subprocess

from drivers.block_file import FileBlock

HOT = 16 * 4096  # bytes at the beginning, in which storm writes most often
DELAY = 0.5  # seconds, in which everything there is overwritten many times
OFTEN = 100  # writes between looks


class Helped(FileBlock):
    """When there is a file `go`, a helper process writes all of the hot bytes, once, and the
    service OS is dead before it does.
    """

    def __init__(self, options):
        super().__init__(options)
        self.count = 0
        self.path = options.path

    def write(self, offset, data):
        super().write(offset, data)
        self.count += 1
        if self.count % OFTEN == 0 and self.path.with_name("go").exists():
            self.die()

    def die(self):
        hot = self.path.with_name("go").rename(self.path.with_name("hot"))
        hot.write_bytes(os.pread(self._fd, HOT, 0))
        command = "sleep $1; exec dd if=$2 of=$3 bs=64K conv=notrunc status=none"
        words = map(str, (DELAY, hot, self.path))
        subprocess.Popen(["sh", "-c", command, "helper", *words], stderr=subprocess.DEVNULL)
        os.kill(os.getpid(), signal.SIGKILL)
