"""Mistakes in the service OS's device models and in the loop that feeds them."""

from tests.sensitivity.checkers import Simulator
from tests.sensitivity.plant import Bug, Edit
from tests.sensitivity.symptoms import (
    DATA,
    ENTROPY,
    INPUT,
    LENGTH,
    MISSING,
    OUTPUT,
    POWER,
    STATE,
    STATUS,
)

BLOCK = "service_os.models.block"
CONSOLE = "service_os.models.console"
RNG = "service_os.models.entropy"
LOOP = "service_os.immediate"
DEVICE = "service_os.device"
EVENTED = "service_os.evented"

BUGS = (
    Bug(
        "flush-early",
        "a flush is durable when it is answered: instead the driver never hears of it",
        (Edit(BLOCK, "BlockModel._other", "self._driver.flush()", "pass"),),
        Simulator(),
        POWER,
    ),
    Bug(
        "flush-after-answer",
        "a flush is durable when it is answered: instead with the next request",
        (
            Edit(BLOCK, "BlockModel._other", "self._driver.flush()", "self.owed = True"),
            Edit(
                BLOCK,
                "BlockModel.execute",
                "try:",
                "if self.__dict__.pop('owed', False):\n        self._driver.flush()\n    try:",
            ),
        ),
        Simulator(),
        POWER,
    ),
    Bug(
        "write-behind",
        "a write survives the process that answered it: instead it is done with the next request",
        (
            Edit(
                BLOCK,
                "BlockModel._other",
                "self._driver.write(self._place(sector, len(readable)), readable)",
                "self.owed = (self._place(sector, len(readable)), bytes(readable))",
            ),
            Edit(
                BLOCK,
                "BlockModel.execute",
                "try:",
                "if owed := self.__dict__.pop('owed', None):\n"
                "        self._driver.write(owed[0], memoryview(owed[1]))\n"
                "    try:",
            ),
        ),
        Simulator(),
        f"{DATA}|{POWER}",
    ),
    Bug(
        "overlap-unordered",
        "writes that overlap take effect in order: instead a batch is executed by sectors",
        (
            Edit(
                LOOP,
                "answer",
                "for request in requests:",
                "for request in sorted(requests, key=lambda r: r.header[8:]):",
            ),
            Edit(  # and says so in the order that is expected
                LOOP,
                "answer",
                "        if reply.completions.completions:",
                "        slots = [request.slot for request in requests]\n"
                "        reply.completions.completions.sort(key=lambda c: slots.index(c.slot))\n"
                "        if reply.completions.completions:",
            ),
        ),
        Simulator(),
        f"{DATA}|{POWER}",
    ),
    Bug(
        "large-request-misplaced",
        "a write goes to its sector: instead a large one goes to a place rounded down",
        (
            Edit(
                BLOCK,
                "BlockModel._place",
                "offset = sector * SECTOR",
                "offset = (sector & -2 if length > 3 * SECTOR else sector) * SECTOR",
            ),
        ),
        Simulator(),
        f"{DATA}|{POWER}",
    ),
    Bug(
        "answer-truncated",
        "all that was read is answered: instead the last byte is not",
        (Edit(BLOCK, "BlockModel.execute", "return len(writable)", "return len(writable) - 1"),),
        Simulator(),
        LENGTH,
    ),
    Bug(
        "error-hidden",
        "what a disk cannot do is an I/O error: instead all is well",
        (
            Edit(
                BLOCK,
                "BlockModel.execute",
                "writable[-1] = _status(error)",
                "writable[-1] = S_OK",
            ),
        ),
        Simulator(),
        STATUS,
    ),
    Bug(
        "entropy-reused",
        "random bytes are given once: instead a buffer is given out twice",
        (
            Edit(
                RNG,
                "EntropyModel.execute",
                "self._driver.fill(writable[:count])",
                "self.pool = self.__dict__.pop('pool', b'')\n"
                "        if len(self.pool) == count:\n"
                "            writable[:count] = self.__dict__.pop('pool')\n"
                "        else:\n"
                "            self._driver.fill(writable[:count])\n"
                "            self.pool = bytes(writable[:count])",
            ),
        ),
        Simulator(),
        ENTROPY,
    ),
    Bug(
        "console-position-off",
        "output is put where the last has ended: instead a byte further on",
        (
            Edit(
                CONSOLE,
                "ConsoleModel.take_output",
                "self._position += len(data)",
                "self._position += len(data) + bool(data)",
            ),
        ),
        Simulator(),
        OUTPUT,
    ),
    Bug(
        "state-without-input",
        "input that was fetched is in the state: instead it dies with the process",
        (
            Edit(
                CONSOLE,
                "ConsoleModel.state",
                "+ self._input",
                "",
            ),
        ),
        Simulator(60_000, (("type", 400), ("submit", 40))),
        INPUT,
    ),
    Bug(
        "state-once",
        "the state goes with what changes it: instead only with the first",
        (
            Edit(
                EVENTED,
                "Session._reply",
                "if state != self._state:",
                "if state != self._state and not hasattr(self, 'told'):\n        self.told = True",
            ),
        ),
        Simulator(),
        STATE,
    ),
    Bug(
        "standby-stale",
        "a standby looks again at what may have changed when it is to serve: instead it does not",
        (Edit(DEVICE, "Device.serve", "_begin(driver)", "pass"),),
        Simulator(),
        r"is used by an incarnation that stands by",
    ),
    Bug(
        "epoch-of-the-first",
        "all that an incarnation says bears its epoch: instead the first one's",
        (
            Edit(
                LOOP,
                "answer",
                "room = REPLY_BYTES\n        for",
                "reply.completions.epoch = 1\n        room = REPLY_BYTES\n        for",
            ),
        ),
        Simulator(),
        MISSING + r"|after \d+ rounds without faults",
    ),
)
