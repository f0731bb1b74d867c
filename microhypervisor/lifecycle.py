"""The states of a guest as a table."""

from enum import Enum

from microhypervisor.errors import PeerFault, Refusal


class GuestState(Enum):
    """Numbers as in core.proto."""

    CREATED = 0
    RUNNING = 1
    PAUSED = 2
    ENDED = 3


_VERBS = {  # from which states, to which
    "load": ((GuestState.CREATED,), GuestState.CREATED),
    "start": ((GuestState.CREATED,), GuestState.RUNNING),
    "pause": ((GuestState.RUNNING, GuestState.PAUSED), GuestState.PAUSED),
    "resume": ((GuestState.PAUSED, GuestState.RUNNING), GuestState.RUNNING),
}


def after(verb: str, state: GuestState, guest: str) -> GuestState:
    """The state that `verb` leads to; PeerFault if it cannot be done now."""
    able, following = _VERBS[verb]
    if state not in able:
        names = " or ".join(each.name.lower() for each in able)
        wrong = f"cannot {verb} guest {guest}: it is {state.name.lower()}, not {names}"
        raise PeerFault(wrong, Refusal.WRONG_STATE)
    return following
