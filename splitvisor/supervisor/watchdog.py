"""Whether a service OS that completes nothing is stuck, or only kept from its work.

The core tells at each half of a device's patience for how long requests have waited there with
nothing completed. The first time the threads are looked at, and from the second on they are judged
by what they did since: time in which a thread wanted to run and was not let is the host's, and does
not count; neither does waiting for a disk, for up to 30 seconds, which glances in between look for:
a sleep there is over and begins again many times in a flush. (Who is seen there only now and then
is a neighbour of the device that is stuck.) Whoever had its patience's worth of chances and
completed nothing is stuck, whether it sleeps (a deadlock) or computes (a spin). The host is an
excuse for three seconds of a stall: where too many threads want its processors there is always one
that waits, and nobody would ever be stuck.

Threads of the core count as well, for what they have not yet taken in looks like what was never
completed; but only those that want little: a vCPU that computes is what others wait for. And while
the whole host is overloaded (pressure stall information), where threads also wait long for each
other, five times the patience has to pass.

What the watchdog did not see is no chance either. On a busy host it is told late, of several halves
at once, and of stalls that are over: so it has to have watched for most of a half, without the gaps
between its glances, and what may be another stall than the one before begins anew. Pure.
"""

from dataclasses import dataclass, field

from splitvisor.supervisor.threads import Thread, Threads

MS = 1_000_000
DISK_PATIENCE_MS = 30_000
HOST_PATIENCE_MS = 3_000
OVERLOAD_FACTOR = 5
GLANCE_NS = 5 * MS  # between glances
_OVERLOAD = 0.75  # of the time somebody waited for a processor
_EXCUSE = 0.25  # of the time; who was kept from running for less had time enough
_MODEST = 0.25  # of the time: what a thread of the core computes at most that is no vCPU
_WATCHED = 0.75  # of half of the patience: what is to be seen; the core looks every 10 ms
_AT_DISK = 0.2  # of the glances: whoever was there more seldom is another one, who gets on
_GAP_NS = 4 * GLANCE_NS  # between two glances; in a longer one nothing was seen


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen at one moment; times are nanoseconds."""

    now: int
    service: Threads
    core: Threads
    pressure: int = 0


@dataclass(slots=True)
class Account:
    """Of the time between sights; nanoseconds, added up by `add`."""

    elapsed: int = 0
    service: int = 0  # in which some thread of the service OS was kept from running
    core: int = 0  # the same of the core's
    blind: int = 0  # in which nobody looked
    disk: int = 0  # in which some thread of the service OS waited for a disk
    pressed: int = 0  # in which somebody on the host waited for a processor
    kept: int = 0  # for all this the process is not to blame
    unlimited: int = 0  # the part of that for a disk, or since nobody looked

    def add(self, before: Sight, after: Sight, blind: int, at_disk: bool) -> None:
        """The time from one sight to the next; `at_disk`: it counts as waiting for a disk."""
        elapsed = after.now - before.now
        modest = {
            i: thread
            for i, thread in after.core.items()
            if i in before.core and thread.run - before.core[i].run <= _MODEST * elapsed
        }
        service = deprived(before.service, after.service, elapsed)
        core = deprived(before.core, modest, elapsed)
        disk = elapsed if at_disk else 0
        unlimited = max(blind, disk)
        kept = max(service, core, unlimited)
        self.elapsed += elapsed
        self.service += service
        self.core += core
        self.blind += blind
        self.disk += disk
        self.pressed += after.pressure - before.pressure
        self.kept += kept if kept > _EXCUSE * elapsed else 0
        self.unlimited += unlimited if unlimited > _EXCUSE * elapsed else 0

    @property
    def excused(self) -> int:
        """What does not count."""
        return self.unlimited + min(self.kept - self.unlimited, HOST_PATIENCE_MS * MS)

    def __str__(self) -> str:
        pressed = self.pressed * 100 // max(1, self.elapsed)
        return (
            f"in {self.elapsed // MS} ms it was kept from running for {self.service // MS}, the"
            f" core for {self.core // MS}, by a disk for {self.disk // MS}; unseen for"
            f" {self.blind // MS}; CPU pressure {pressed}%"
        )


@dataclass(slots=True)
class Stall:
    """One device that completes nothing, from the first time that the core tells of it."""

    half_ms: int  # of the patience of this device
    last: Sight
    last_ms: int
    told: int  # when the core told last
    seen: int  # when somebody looked last
    account: Account = field(default_factory=Account)
    blind: int = 0  # since the last look, as the next two
    glances: int = 0
    at_disk: int = 0

    def glance(self, now: int, service: Threads) -> None:
        """Between two looks, and at each."""
        gap, self.seen = now - self.seen, now
        if gap > _GAP_NS:
            self.blind += gap - GLANCE_NS
        self.glances += 1
        self.at_disk += waits_for_disk(service)

    def is_other(self, ms: int, told: int) -> bool:
        """Whether what is told of now has begun, or may have, since it was told of this one."""
        return ms <= self.last_ms or told - self.told >= ms * MS

    def verdict(self, ms: int, told: int, sight: Sight) -> str:
        """Why the process is stuck after so many milliseconds without a completion, or ""."""
        service = sight.service
        if service and all(thread.state in "Tt" for thread in service.values()):
            return "all its threads are stopped"
        self._look(ms, told, sight)
        if ms < DISK_PATIENCE_MS and self._is_too_early(ms):
            return ""
        states = "".join(sorted(thread.state for thread in service.values()))
        return f"{self.account}; threads {states}"

    def _look(self, ms: int, told: int, sight: Sight) -> None:
        self.glance(sight.now, sight.service)
        at_either_end = waits_for_disk(self.last.service) or waits_for_disk(sight.service)
        at_disk = at_either_end or self.at_disk > _AT_DISK * self.glances
        self.account.add(self.last, sight, self.blind, at_disk)
        self.last, self.last_ms, self.told = sight, ms, told
        self.blind = self.glances = self.at_disk = 0

    def _is_too_early(self, ms: int) -> bool:
        account, patience_ms = self.account, 2 * self.half_ms
        overloaded = account.pressed > _OVERLOAD * account.elapsed
        if overloaded and ms < OVERLOAD_FACTOR * patience_ms:
            return True
        if account.excused and ms - account.excused / MS < patience_ms:
            return True
        return account.elapsed - account.excused < _WATCHED * self.half_ms * MS


def waits_for_disk(threads: Threads) -> bool:
    """Whether some thread sleeps where no signal wakes it."""
    return any(thread.state == "D" for thread in threads.values())


def deprived(before: Threads, after: Threads, elapsed: int) -> int:
    """Nanoseconds, of those elapsed, in which some thread was kept from running by the host."""
    return max((_wait(before.get(i), t, elapsed) for i, t in after.items()), default=0)


def _wait(before: Thread | None, after: Thread, elapsed: int) -> int:
    ran = after.run - (before.run if before else 0)
    waited = after.run_delay - (before.run_delay if before else 0)
    if after.state == "R":  # it may be waiting right now, and nothing else tells of that
        waited = max(waited, elapsed - ran)
    return min(max(waited, 0), elapsed)


class Watchdog:
    """The stalls of one incarnation's devices; a device can have one of each kind, `what`."""

    def __init__(self) -> None:
        self._stalls: dict[tuple[str, str], Stall] = {}

    def glance(self, now: int, service: Threads) -> None:
        """Between two looks at devices that the core told of."""
        for stall in self._stalls.values():
            stall.glance(now, service)

    def stalled(self, device: str, ms: int, told: int, sight: Sight, what: str = "") -> str:
        """A device completes nothing for so long, the core told: why that is stuck, or ""."""
        stall = self._stalls.get((device, what))
        if stall is not None and told <= stall.told:  # more is known already
            return ""
        if stall is None or stall.is_other(ms, told):
            self._stalls[device, what] = Stall(ms, sight, ms, told, sight.now)
            return ""
        why = stall.verdict(ms, told, sight)
        since = f"{what}, for {ms} ms" if what else f"nothing completed for {ms} ms"
        return why and f"{device}: {since} ({why})"
