"""Which fault comes when and where: a pure function of the seed and the fault's number.

Times are parts of a whole, because what is a good time depends on the machine; everything else is
settled here, so that the same seed brings the same faults in the same order.
"""

from dataclasses import dataclass
from random import Random

from splitvisor.chaos.plan import Plan

# What there is to ask for, and what it does.
KINDS = {
    "kill": "SIGKILL to the service OS that serves, at any moment or at a failpoint",
    "kill-standby": "SIGKILL to the one that stands by",
    "kill-both": "SIGKILL to both of them",
    "kill-recovery": "SIGKILL, and another to the standby while it takes over",
    "stop": "SIGSTOP at any moment or at a failpoint",
    "zombie": "SIGSTOP in mid-write, and SIGCONT after others have written the same blocks",
    "hang": "a device's thread waits for ever",
    "spin": "a device's thread computes for ever",
    "slow": "a step takes some milliseconds longer; no failover may come of it",
    "garble": "an answer is wrong",
    "drop": "an answer is not sent",
    "leak": "some MiB of memory are taken for good; no failover may come of it",
    "exit": "the process exits",
    "raise": "a device's thread raises an exception",
    "swap": "a device moves to another driver, in order",
    "upgrade": "all devices move to a fresh service OS, in order",
}
OF_STANDBYS = ("kill-standby", "kill-both", "kill-recovery")  # nothing of their own without one
_NOWHERE = ("swap", "upgrade", "kill-both", "kill-standby")  # at no failpoint
_SIGNALS = ("kill", "stop", "zombie")  # sometimes at none
_REQUEST_POINTS = ("before-execute", "after-execute")  # passed once for each request
_POINTS = {
    "zombie": ("after-receive", "before-execute", "after-execute", "mid-batch"),
    "garble": ("before-reply",),
    "drop": ("before-reply", "after-execute"),
    "leak": ("before-execute",),
    "kill-recovery": ("promotion", "attached", "replay-received", "replay-executed"),
}
_SERVING = (
    *("after-receive", "before-execute", "after-execute", "mid-batch", "before-reply"),
    "after-reply",
)
_LONE = ("after-receive", "after-execute", "before-reply", "after-reply")  # of single requests
_GARBLES = ("epoch", "slot", "generation", "length", "twice", "nonsense")


@dataclass(frozen=True, slots=True)
class Injection:
    """Fault `number` of a campaign; `at` is a failpoint, or empty for a signal."""

    number: int
    kind: str
    wait: float  # 0 to 1, of the longest wait before it
    guest: int
    device: str
    at: str = ""
    nth: int = 1
    by: str = ""
    size: str = ""
    how: str = "some"

    def __str__(self) -> str:
        place = f" at {self.at} of storm{self.guest}/{self.device}" if self.at else ""
        more = "".join(f", {word}" for word in (self.by, self.size) if word)
        return f"{self.kind}{place}{more}"


def injection(plan: Plan, seed: int, number: int) -> Injection:
    """Fault `number`, from 0."""
    random = Random(f"{seed}/{number}")
    kind = random.choice(plan.kinds)
    wait, guest = random.random(), random.randrange(plan.guests)
    device = random.choices(("disk0", "hvc0", "rng0"), (6, 1, 1))[0]
    if kind in _NOWHERE or (kind in _SIGNALS and random.random() < 0.4):
        return Injection(number, kind, wait, guest, device)
    if kind in ("zombie", "leak", "slow", "kill-recovery"):
        device = "disk0"
    points = _POINTS.get(kind, _SERVING)
    if device != "disk0":
        points = tuple(point for point in points if point in _LONE)
    at = random.choice(points)
    longest = 1 if device != "disk0" or kind == "kill-recovery" else 30
    return Injection(
        number,
        kind,
        wait,
        guest,
        device,
        at,
        nth=random.randint(1, longest * 10 if at in _REQUEST_POINTS else longest),
        by=f"{random.randint(1, 25)}ms" if kind == "slow" else "",
        size=f"{random.randint(1, 32)}M" if kind == "leak" else "",
        how=random.choice(_GARBLES) if kind == "garble" else "some",
    )
