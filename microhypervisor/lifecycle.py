"""The states of a guest as a table."""

from enum import Enum

from microhypervisor.errors import PeerFault, Refusal


class GuestState(Enum):
    """Numbers as in core.proto."""

    CREATED = 0
    RUNNING = 1
    PAUSED = 2
    ENDED = 3


_NEXT = {
    ("load", GuestState.CREATED): GuestState.CREATED,
    ("start", GuestState.CREATED): GuestState.RUNNING,
    ("pause", GuestState.RUNNING): GuestState.PAUSED,
    ("pause", GuestState.PAUSED): GuestState.PAUSED,
    ("resume", GuestState.PAUSED): GuestState.RUNNING,
    ("resume", GuestState.RUNNING): GuestState.RUNNING,
    ("end", GuestState.CREATED): GuestState.ENDED,
    ("end", GuestState.RUNNING): GuestState.ENDED,
    ("end", GuestState.PAUSED): GuestState.ENDED,
    ("end", GuestState.ENDED): GuestState.ENDED,
}


def after(verb: str, state: GuestState, guest: str) -> GuestState:
    """The state that `verb` leads to; PeerFault if it cannot be done now."""
    if (verb, state) not in _NEXT:
        able = " or ".join(s.name.lower() for v, s in _NEXT if v == verb)
        wrong = f"cannot {verb} guest {guest}: it is {state.name.lower()}, not {able}"
        raise PeerFault(wrong, Refusal.WRONG_STATE)
    return _NEXT[verb, state]
