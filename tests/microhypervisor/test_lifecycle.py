"""The table of guest states, in full."""

import pytest

from microhypervisor.errors import PeerFault, Refusal
from microhypervisor.lifecycle import GuestState, after
from protos import core_pb2

CREATED, RUNNING, PAUSED, ENDED = GuestState

TABLE = {
    #          created  running  paused   ended
    "load": (CREATED, None, None, None),
    "start": (RUNNING, None, None, None),
    "pause": (None, PAUSED, PAUSED, None),
    "resume": (None, RUNNING, RUNNING, None),
}


@pytest.mark.parametrize(
    ("verb", "state", "expected"),
    [(v, s, e) for v, row in TABLE.items() for s, e in zip(GuestState, row, strict=True)],
)
def test_every_verb_in_every_state(verb, state, expected):
    if expected:
        assert after(verb, state, "tiny") is expected
        return
    with pytest.raises(PeerFault) as raised:
        after(verb, state, "tiny")
    assert raised.value.refusal is Refusal.WRONG_STATE
    assert str(raised.value).startswith(f"cannot {verb} guest tiny: it is {state.name.lower()}")


def test_a_refusal_names_the_states_that_would_do():
    with pytest.raises(PeerFault, match="it is created, not running or paused"):
        after("pause", CREATED, "tiny")


def test_numbers_are_those_of_the_contract():
    names = {f"GUEST_{state.name}": state.value for state in GuestState}
    assert names == dict(core_pb2.GuestState.items())
