"""Mistakes in the recovery state machine and in quarantine."""

from tests.sensitivity.checkers import Simulator
from tests.sensitivity.plant import Bug, Edit

RECOVERY = "splitvisor.supervisor.recovery"
QUARANTINE = "splitvisor.supervisor.quarantine"
SERVED = "microhypervisor.devices.served"
UNSERVED = "splitvisor.supervisor.unserved"

BUGS = (
    Bug(
        "replay-before-reap",
        "all of a dead incarnation is reaped before the next begins: instead it is only killed",
        (
            Edit(
                RECOVERY,
                "Recovery._lose_active",
                "self._do(steps.Fence(active.epoch))",
                "self._do(steps.Fence(active.epoch))\n    self._take_over()\n    return",
            ),
        ),
        Simulator(),
        r"(is connected|begins).* is not reaped",
    ),
    Bug(
        "standby-not-fenced",
        "a standby that is lost is reaped: instead the next one is started beside it",
        (
            Edit(
                RECOVERY,
                "Recovery._drop_standby",
                "self._do(steps.Fence(standby.epoch))",
                "self._dying.clear()",
            ),
        ),
        Simulator(),
        r"something is under way",
    ),
    Bug(
        "lost-standby-promoted",
        "who was lost never takes over: instead a standby does that is dead",
        (
            Edit(
                RECOVERY,
                "Recovery._drop_standby",
                "self.standby, self._refill_at = None, refill_at",
                "self._refill_at = refill_at",
            ),
        ),
        Simulator(),
        r"is (prepared|connected) though it was known to be lost|is fenced twice",
    ),
    Bug(
        "epoch-reused",
        "epochs rise: instead the next incarnation has that of the last",
        (
            Edit(
                RECOVERY,
                "Recovery._launch",
                "self._epoch += 1",
                "self._epoch += standby or not self._epoch",
            ),
        ),
        Simulator(),
        r"epoch \d+ is launched after \d+",
    ),
    Bug(
        "quarantine-of-an-innocent",
        "the device whose request kills is kept away: instead another one is",
        (
            Edit(
                RECOVERY,
                "Recovery._blame",
                "if reason := self.quarantine.blame(device):",
                "if reason := self.quarantine.blame(device):\n"
                "        device = 'g/' + ('console0' if 'block' in device else 'block0')",
            ),
        ),
        Simulator(90_000),
        r"is put in quarantine, and has killed nobody",
    ),
    Bug(
        "poison-never-suspected",
        "a request that kills again and again is found: instead it kills for ever",
        (
            Edit(
                QUARANTINE,
                "Quarantine.suspicious",
                "self._undone >= SUSPICIOUS",
                "False",
            ),
        ),
        Simulator(90_000),
        r"after \d+ rounds without faults it is not at rest",
    ),
    Bug(
        "quarantine-for-ever",
        "a device that is released is served again: instead it goes on failing",
        (
            Edit(
                QUARANTINE,
                "Quarantine.release",
                'return self.reasons.pop(device, "")',
                'return self.reasons.get(device, "")',
            ),
        ),
        Simulator(90_000),
        r"after \d+ rounds without faults",
    ),
    Bug(
        "unserved-forgotten",
        "a device that cannot be attached is tried again: instead once only",
        (
            Edit(
                UNSERVED,
                "Entry.failed",
                "self.tried, self.due = reason, False,",
                "self.due = reason,",
            ),
        ),
        Simulator(90_000, (("withdraw", 4), ("give_back", 2))),
        r"nobody serves|it is \w+, not serving",
    ),
    Bug(
        "released-while-in-flight",
        "a planned end waits for what is in flight: instead it does not",
        (Edit(SERVED, "ServedDevice.owes", "return self._owes()", "return False"),),
        Simulator(),
        r"is released with requests in flight",
    ),
    Bug(
        "hold-ignored",
        "nothing new goes to one that is to be released: instead it does",
        (
            Edit(
                "microhypervisor.devices.virtio_device",
                "VirtioDevice.collect",
                "self.transport.live and not self.held",
                "self.transport.live",
            ),
        ),
        Simulator(),
        r"something new while it is released",
    ),
)
