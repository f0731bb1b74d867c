"""Mistakes in drivers; and in what only shows with real ones."""

from tests.sensitivity.checkers import Machines
from tests.sensitivity.plant import Bug, Edit

FILE = "drivers.block_file"
POWERCUT = "drivers.block_powercut"
LOG = "drivers.console_log"
SYSTEM = "drivers.entropy_system"
EVENTED = "service_os.evented"

BUGS = (
    Bug(
        "driver-caches",
        "what a driver was given survives its process: instead it keeps some of it to itself",
        (
            Edit(
                FILE,
                "FileBlock.write",
                "write_all(self._fd, offset, data)",
                "kept = self.__dict__.setdefault('kept', [])\n"
                "        kept.append((offset, bytes(data)))\n"
                "        if len(kept) > 30:\n"
                "            for at, what in kept:\n"
                "                write_all(self._fd, at, what)\n"
                "            kept.clear()",
            ),
            Edit(
                FILE,
                "FileBlock.read",
                "read_all(self._fd, offset, into)",
                "read_all(self._fd, offset, into)\n"
                "        for at, what in self.__dict__.get('kept', ()):\n"
                "            first = max(at, offset)\n"
                "            end = min(at + len(what), offset + len(into))\n"
                "            if first < end:\n"
                "                into[first - offset : end - offset] = what[first - at : end - at]",
            ),
            Edit(
                FILE,
                "FileBlock.flush",
                "os.fdatasync(self._fd)",
                "for at, what in self.__dict__.pop('kept', ()):\n"
                "            write_all(self._fd, at, what)\n"
                "        os.fdatasync(self._fd)",
            ),
        ),
        Machines("killed"),
        r"the guest says: FAIL .*write|the disk: \d+ wrong",
    ),
    Bug(
        "entropy-reseeded",
        "no two incarnations give out the same random bytes: instead each starts anew",
        (
            Edit(
                SYSTEM,
                "SystemEntropy.__init__",
                "pass",
                "import random\n    self.random = random.Random(1)",
            ),
            Edit(
                SYSTEM,
                "SystemEntropy.fill",
                "os.getrandom(len(into) - done)",
                "self.random.randbytes(len(into) - done)",
            ),
        ),
        Machines("killed"),
        r"the guest says: FAIL .*entropy",
    ),
    Bug(
        "output-after-answer",
        "what was put out is there when the guest is told: instead it follows",
        (
            Edit(
                EVENTED,
                "Session.answer",
                "self._fetch()",
                "self._put_out()\n            self._fetch()",
            ),
            Edit(
                EVENTED,
                "Session.answer",
                "for done in self._handle(event):\n                self._put_out()",
                "for done in self._handle(event):",
            ),
        ),
        Machines("killed"),
        r"the console: \d+ wrong",
    ),
    Bug(
        "log-appended",
        "output that is put out again stands once: instead it is appended",
        (
            Edit(
                LOG,
                "LogConsole.write",
                "write_all(self._fd, position, data)",
                "write_all(self._fd, os.lseek(self._fd, 0, os.SEEK_END), data)",
            ),
        ),
        Machines("killed"),
        r"the console: \d+ wrong",
    ),
    Bug(
        "flush-of-the-last",
        "a flush covers all writes before it: instead only the last",
        (
            Edit(
                POWERCUT,
                "PowercutBlock.flush",
                "at in self._records:",
                "at in self._records[-1:]:",
            ),
        ),
        Machines("power_cut"),
        r"the guest says: FAIL|the disk after the loss of power: \d+ wrong",
    ),
    Bug(
        "flush-never",
        "what was flushed survives the loss of power: instead it may as well be lost",
        (Edit("service_os.models.block", "BlockModel._other", "self._driver.flush()", "pass"),),
        Machines("power_cut"),
        r"the disk after the loss of power: \d+ wrong",
    ),
    Bug(
        "opened-stale",
        "a standby looks again at what has changed when it begins: instead it knows from before",
        (
            Edit(
                POWERCUT,
                "PowercutBlock.__init__",
                "self._end = 0",
                "self._end = 0\n"
                "    if self._path.exists():\n"
                "        for record in _whole_records(self._path.read_bytes()):\n"
                "            self._note(*record)",
            ),
            Edit(POWERCUT, "PowercutBlock.begin", "self._note(offset, length, at)", "pass"),
        ),
        Machines("power_cut"),
        r"the guest says: FAIL|the disk after the loss of power: .*(\d+ wrong|no record|CRC)",
    ),
)
