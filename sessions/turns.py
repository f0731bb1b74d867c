"""The devices of an incarnation begin: all at once, or one by one to find the one that kills it.

A device may be removed meanwhile: then it is no problem of anybody's. A driver without patience may
wait for the world outside, as a console does whose reader has stopped it: such devices have their
turns last, and are not waited for long.
"""

from collections.abc import Callable

from microhypervisor.errors import PeerFault, Refusal
from sessions.attachment import Attachment, Problems
from sessions.session import Session

WORLD_S = 1.0
Start = Callable[[Attachment], Session]  # has it begin


def at_once(wanted: list[Attachment], promote: Start, afresh: Start) -> Problems:
    """Have all begin; each with its problem. PeerFault if the incarnation broke off."""
    # Those first whose guests wait; what has to be opened would hold the others up.
    warm_first = sorted(wanted, key=lambda a: (a.standby is None, not a.device.owes()))
    begun = [(a, a.standing_by, promote(a)) for a in warm_first]
    outcomes = [(a, _outcome(a, session, warm, afresh)) for a, warm, session in begun]
    results = [(a.device, problem) for a, problem in outcomes if not a.gone]
    check_whole(results)
    return results


def _outcome(a: Attachment, session: Session, warm: bool, afresh: Start) -> PeerFault | None:
    """Whether it attached; what was opened long ago and fails to begin is opened anew, once."""
    problem = session.wait_attached()
    if problem and warm and problem.refusal is not Refusal.NOT_CONNECTED:
        session.close()
        problem = afresh(a).wait_attached()
    return problem


def in_turn(wanted: list[Attachment], promote: Start) -> tuple[Problems, str]:
    """Have each begin and do again what was in flight; the problems, and in whose turn it died.

    PeerFault if it did in nobody's.
    """
    results: Problems = []
    through: list[Session] = []
    wanted = sorted(wanted, key=lambda a: not a.device.patience_ms)
    for turn, a in enumerate(wanted):
        if a.gone:
            continue
        dead = any(earlier.problem for earlier in through)  # already: not by this one
        session = promote(a)
        patience_s = None if a.device.patience_ms else WORLD_S
        problem = session.wait_attached() or session.wait_replayed(patience_s)
        if a.gone:  # it may have asked for something, and be why the next breaks off
            through.append(session)
            continue
        results.append((a.device, problem))
        broke = problem is not None and problem.refusal is Refusal.NOT_CONNECTED
        if dead:
            check_whole(results)
        if broke or session.broke_in_replay:
            if not all(earlier.replayed for earlier in through):
                text = f"it broke off with device {a.name}, and not with that one alone"
                raise PeerFault(text, Refusal.NOT_CONNECTED)
            rest = PeerFault(f"the incarnation broke off with device {a.name}")
            others = [other.device for other in wanted[turn + 1 :] if not other.gone]
            return results + [(other, rest) for other in others], a.name
        if not problem:
            through.append(session)
    return results, ""


def check_whole(results: Problems) -> None:
    """A device that is refused is the device's affair; with a stream that breaks all is over."""
    for device, problem in results:
        if problem and problem.refusal is Refusal.NOT_CONNECTED:
            text = f"it broke off with device {device.guest}/{device.config.name}: {problem}"
            raise PeerFault(text, Refusal.NOT_CONNECTED)
