"""Whether a service OS that completes nothing is stuck, or only kept from its work.

The core tells at each half of a device's patience for how long requests have waited there with
nothing completed. The first time the threads are looked at, and from the second on they are judged
by what they did since: time in which a thread wanted to run and was not let is the host's, and does
not count; neither does waiting for a disk, for up to 30 seconds, which glances in between look for:
a sleep there is over and begins again many times in a flush. Whoever had its patience's worth
of chances and completed nothing is stuck, whether it sleeps (a deadlock) or computes (a spin).

Threads of the core count as well, for what they have not yet taken in looks like what was never
completed; but only those that want little: a vCPU that computes is what others wait for. And while
the whole host is overloaded (pressure stall information), where threads also wait long for each
other, five times the patience has to pass. Pure.
"""

from dataclasses import dataclass

from splitvisor.supervisor.threads import Thread, Threads

MS = 1_000_000
DISK_PATIENCE_MS = 30_000
OVERLOAD_FACTOR = 5
_OVERLOAD = 0.75  # of the time somebody waited for a processor
_EXCUSE = 0.25  # of the time; who was kept from running for less had time enough
_MODEST = 0.25  # of the time: what a thread of the core computes at most that is no vCPU


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen at one moment; times are nanoseconds."""

    now: int
    service: Threads
    core: Threads
    pressure: int = 0


@dataclass(slots=True)
class Stall:
    """One device that completes nothing, from the first time that the core tells of it."""

    half_ms: int  # of the patience of this device
    first: Sight
    last_ms: int
    waited: bool  # for a disk, at the last look or since: it had that much less time

    def verdict(self, ms: int, sight: Sight) -> str:
        """Why the process is stuck after so many milliseconds without a completion, or ""."""
        self.last_ms = ms
        service = sight.service
        if service and all(thread.state in "Tt" for thread in service.values()):
            return f"nothing completed for {ms} ms: all its threads are stopped"
        waited, self.waited = self.waited, waits_for_disk(service)
        excused = self.waited or waited or self._is_kept(ms, sight)
        if excused and ms < DISK_PATIENCE_MS:
            return ""
        return f"nothing completed for {ms} ms"

    def _is_kept(self, ms: int, sight: Sight) -> bool:
        """Whether the host, and not the process, is to blame so far."""
        elapsed, patience_ms = sight.now - self.first.now, 2 * self.half_ms
        overloaded = sight.pressure - self.first.pressure > _OVERLOAD * elapsed
        if overloaded and ms < OVERLOAD_FACTOR * patience_ms:
            return True
        modest = {
            i: thread
            for i, thread in sight.core.items()
            if i in self.first.core and thread.run - self.first.core[i].run <= _MODEST * elapsed
        }
        kept = max(
            deprived(self.first.service, sight.service, elapsed),
            deprived(self.first.core, modest, elapsed),
        )
        return kept > _EXCUSE * elapsed and ms - kept / MS < patience_ms


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
    """The stalls of one incarnation's devices."""

    def __init__(self) -> None:
        self._stalls: dict[str, Stall] = {}

    def glance(self, device: str, service: Threads) -> None:
        """Between two looks at a device that the core told of."""
        stall = self._stalls[device]
        stall.waited = stall.waited or waits_for_disk(service)

    def stalled(self, device: str, ms: int, sight: Sight) -> str:
        """A device has completed nothing for so long: why the process is stuck, or ""."""
        stall = self._stalls.get(device)
        if stall is None or ms <= stall.last_ms:  # something was completed in between
            self._stalls[device] = Stall(ms, sight, ms, waits_for_disk(sight.service))
            return ""
        why = stall.verdict(ms, sight)
        return why and f"{device}: {why}"
