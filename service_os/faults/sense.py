"""Which faults make sense: what can be done where, and what else it needs."""

from protos import faults_pb2 as faults
from protos.faults_pb2 import Fault

# Steps that requests take. A replayed batch takes the ordinary ones and those of a replay.
OF_BATCHES = frozenset(
    (faults.AFTER_RECEIVE, faults.REPLAY_RECEIVED, faults.BEFORE_REPLY, faults.AFTER_REPLY)
)
OF_REQUESTS = frozenset(
    (faults.BEFORE_EXECUTE, faults.AFTER_EXECUTE, faults.MID_BATCH, faults.REPLAY_EXECUTED)
)
OF_ATTACHING = frozenset((faults.OPENED, faults.ATTACHED))
ANSWERED = (OF_BATCHES | OF_REQUESTS | OF_ATTACHING) - {faults.AFTER_REPLY}
AT_ONCE = frozenset((faults.KILL, faults.STOP, faults.SPIN, faults.LEAK, faults.EXIT))
OF_ANSWERS = frozenset((faults.GARBLE, faults.DROP))


def objection(fault: Fault) -> str | None:
    """Why it makes no sense, in one line."""
    for known, number, what in (
        (faults.Action, fault.action, "action"),
        (faults.Point, fault.point, "point"),
        (faults.Garble, fault.garble, "way to garble"),
    ):
        if number not in known.values():
            return f"there is no {what} {number}"
    action = _word(faults.Action.Name(fault.action))
    point = _word(faults.Point.Name(fault.point))
    if fault.point == faults.ANYWHERE:
        return _objection_at_once(fault, action)
    if fault.action in OF_ANSWERS and fault.point not in ANSWERED:
        return f"{action} needs an answer, and there is none at {point}: {_list(ANSWERED)}"
    if fault.action == faults.GARBLE and fault.point in OF_ATTACHING:
        if fault.garble not in (faults.SOME, faults.NONSENSE):
            return f"at {point} an answer has nothing to be made wrong: garble it with nonsense"
    elif fault.only_sector and fault.point not in OF_BATCHES | OF_REQUESTS:
        return f"no request is at {point}: leave out the sector"
    return _objection_to_amount(fault)


def _objection_at_once(fault: Fault, action: str) -> str | None:
    if fault.action not in AT_ONCE:
        return f"{action} needs a point: name one but anywhere"
    if fault.guest or fault.device or fault.only_sector or fault.nth > 1 or fault.times > 1:
        return "anywhere is at once and once: name a point for a device, a sector or a number"
    return _objection_to_amount(fault)


def _objection_to_amount(fault: Fault) -> str | None:
    if fault.action == faults.SLOW and not fault.delay_us:
        return "slow needs a delay"
    if fault.action == faults.LEAK and not fault.bytes:
        return "leak needs bytes"
    return None


def _list(points: frozenset[int]) -> str:
    names = [_word(name) for name, point in faults.Point.items() if point in points]
    return f"name one of {', '.join(names)}"


def _word(name: str) -> str:
    """As operators write it."""
    return name.lower().replace("_", "-")
