"""One device after the other, to find the one that kills an incarnation.

A driver without patience may wait for the world outside, as a console does whose reader has stopped
it: such devices have their turns last, and are not waited for long.
"""

from collections.abc import Callable

from microhypervisor.errors import PeerFault, Refusal
from sessions.attachment import Attachment, Problems
from sessions.session import Session

WORLD_S = 1.0


def in_turn(
    wanted: list[Attachment], promote: Callable[[Attachment], Session]
) -> tuple[Problems, str]:
    """Have each begin and do again what was in flight; the problems, and in whose turn it died.

    PeerFault if it did in nobody's.
    """
    results: Problems = []
    through: list[Session] = []
    wanted = sorted(wanted, key=lambda a: not a.device.patience_ms)
    for turn, a in enumerate(wanted):
        dead = any(earlier.problem for earlier in through)  # already: not by this one
        session = promote(a)
        patience_s = None if a.device.patience_ms else WORLD_S
        problem = session.wait_attached() or session.wait_replayed(patience_s)
        results.append((a.device, problem))
        broke = problem is not None and problem.refusal is Refusal.NOT_CONNECTED
        if dead:
            check_whole(results)
        if broke or session.broke_in_replay:
            if not all(earlier.replayed for earlier in through):
                text = f"it broke off with device {a.name}, and not with that one alone"
                raise PeerFault(text, Refusal.NOT_CONNECTED)
            rest = PeerFault(f"the incarnation broke off with device {a.name}")
            return results + [(other.device, rest) for other in wanted[turn + 1 :]], a.name
        if not problem:
            through.append(session)
    return results, ""


def check_whole(results: Problems) -> None:
    """A device that is refused is the device's affair; with a stream that breaks all is over."""
    for device, problem in results:
        if problem and problem.refusal is Refusal.NOT_CONNECTED:
            text = f"it broke off with device {device.guest}/{device.config.name}: {problem}"
            raise PeerFault(text, Refusal.NOT_CONNECTED)
