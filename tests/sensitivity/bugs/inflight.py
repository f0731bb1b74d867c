"""Mistakes in the in-flight log, and in what is taken out of it for a replay."""

from tests.sensitivity.checkers import Simulator
from tests.sensitivity.plant import Bug, Edit
from tests.sensitivity.symptoms import ANYTHING, DATA, EARLY, INPUT, MISSING, STATE

LOG = "microhypervisor.inflight"
SERVED = "microhypervisor.devices.served"
IN_ORDER = "    return list(self._entries.values())"

BUGS = (
    Bug(
        "outstanding-skipped",
        "what was in flight is done again: instead the next one starts at the available index",
        (
            Edit(
                LOG,
                "InflightLog.begin_epoch",
                IN_ORDER,
                "    self._entries.clear()\n    return []",
            ),
        ),
        Simulator(),
        MISSING,
    ),
    Bug(
        "slot-zero-lost",
        "slot 0 is a slot like any other: instead its bit is cleared",
        (
            Edit(
                LOG,
                "InflightLog.begin_epoch",
                IN_ORDER,
                "    return [e for e in self._entries.values() if e.slot]",
            ),
        ),
        Simulator(),
        MISSING + "|slot 0 is not done again",
    ),
    Bug(
        "replay-backwards",
        "replay is in the order of submission: instead it is backwards",
        (
            Edit(
                LOG,
                "InflightLog.begin_epoch",
                IN_ORDER,
                "    return list(self._entries.values())[::-1]",
            ),
        ),
        Simulator(),
        f"{DATA}|{STATE}",
    ),
    Bug(
        "replay-by-slot",
        "replay is in the order of submission: instead it is in that of slots",
        (
            Edit(
                LOG,
                "InflightLog.begin_epoch",
                IN_ORDER,
                "    return sorted(self._entries.values(), key=lambda e: e.slot)",
            ),
        ),
        Simulator(),
        f"{DATA}|{STATE}",
    ),
    Bug(
        "parked-not-replayed",
        "parked requests are given to the next incarnation as well: instead they are forgotten",
        (
            Edit(
                SERVED,
                "ServedDevice.begin_epoch",
                "entries = self.log.begin_epoch()",
                "entries = [e for e in self.log.begin_epoch() if e.queue not in self.parking]",
            ),
        ),
        Simulator(),
        INPUT,
    ),
    Bug(
        "generation-ignored",
        "a completion of an earlier use of its slot is dropped: instead it is taken",
        (
            Edit(
                LOG,
                "InflightLog.find",
                "entry is None or entry.generation != generation",
                "entry is None",
            ),
        ),
        Simulator(),
        f"{ANYTHING}|{EARLY}",
    ),
    Bug(
        "orphans-ignored",
        "nothing new goes out before what a reset left behind is answered: instead at once",
        (Edit(LOG, "InflightLog.settled", "return not self._orphans", "return True"),),
        Simulator(90_000, (("reset", 8),)),
        ANYTHING,
    ),
)
