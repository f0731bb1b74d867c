"""Whether a service OS that completes nothing is stuck, or only kept from its work.

The core tells at each half of a device's patience for how long requests have waited there with
nothing completed. The first time the threads are looked at, and from the second on they are judged
by what they did since: time in which a thread wanted to run and was not let is the host's, and does
not count; neither does waiting for a disk, for up to 30 seconds. Whoever had its patience's worth
of chances and completed nothing is stuck, whether it sleeps (a deadlock) or computes (a spin).

Threads of the core count as well, for what they have not yet taken in looks like what was never
completed; but only those that want little: a vCPU that computes is what others wait for. Pure.
"""

from dataclasses import dataclass

from splitvisor.supervisor.threads import Thread, Threads

MS = 1_000_000
DISK_PATIENCE_MS = 30_000
_EXCUSE = 0.25  # of the time; who was kept from running for less had time enough
_MODEST = 0.25  # of the time: what a thread of the core computes at most that is no vCPU


@dataclass(slots=True)
class Stall:
    """One device that completes nothing, from the first time that the core tells of it."""

    half_ms: int  # of the patience of this device
    since: int  # nanoseconds, of the first look
    service: Threads
    core: Threads
    last_ms: int

    def verdict(self, ms: int, now: int, service: Threads, core: Threads) -> str:
        """Why the process is stuck after so many milliseconds without a completion, or "".

        `now` and the threads' times are nanoseconds.
        """
        self.last_ms = ms
        if service and all(thread.state in "Tt" for thread in service.values()):
            return f"nothing completed for {ms} ms: all its threads are stopped"
        elapsed = now - self.since
        if ms < DISK_PATIENCE_MS:
            if any(thread.state == "D" for thread in service.values()):
                return ""
            kept = max(deprived(self.service, service, elapsed), _core_deprived(self, core, now))
            if kept > _EXCUSE * elapsed and ms - kept / MS < 2 * self.half_ms:
                return ""
        return f"nothing completed for {ms} ms"


def deprived(before: Threads, after: Threads, elapsed: int) -> int:
    """Nanoseconds, of those elapsed, in which some thread was kept from running by the host."""
    return max((_wait(before.get(i), t, elapsed) for i, t in after.items()), default=0)


def _wait(before: Thread | None, after: Thread, elapsed: int) -> int:
    ran = after.run - (before.run if before else 0)
    waited = after.run_delay - (before.run_delay if before else 0)
    if after.state == "R":  # it may be waiting right now, and nothing else tells of that
        waited = max(waited, elapsed - ran)
    return min(max(waited, 0), elapsed)


def _core_deprived(stall: Stall, core: Threads, now: int) -> int:
    elapsed = now - stall.since
    modest = {
        i: thread
        for i, thread in core.items()
        if i in stall.core and thread.run - stall.core[i].run <= _MODEST * elapsed
    }
    return deprived(stall.core, modest, elapsed)


class Watchdog:
    """The stalls of one incarnation's devices."""

    def __init__(self) -> None:
        self._stalls: dict[str, Stall] = {}

    def stalled(self, device: str, ms: int, now: int, service: Threads, core: Threads) -> str:
        """A device has completed nothing for so long: why the process is stuck, or ""."""
        stall = self._stalls.get(device)
        if stall is None or ms <= stall.last_ms:  # something was completed in between
            self._stalls[device] = Stall(ms, now, service, core, ms)
            return ""
        why = stall.verdict(ms, now, service, core)
        return why and f"{device}: {why}"
