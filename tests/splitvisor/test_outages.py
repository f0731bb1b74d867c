import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.errors import UserError
from splitvisor.machine import MAX_OUTAGE, OutagePolicy, WhenOut
from splitvisor.outages import parse_outage
from splitvisor.units import format_duration


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("hold", OutagePolicy()),
        ("pause", OutagePolicy(WhenOut.PAUSE)),
        ("error after 2s", OutagePolicy(WhenOut.ERROR, 2_000_000_000)),
        (" pause  after 1.5 ms ", OutagePolicy(WhenOut.PAUSE, 1_500_000)),
        ("error after 0s", OutagePolicy(WhenOut.ERROR)),
    ],
)
def test_words_for_policies(text, policy):
    assert parse_outage(text) == policy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is no outage policy .known: error, hold, pause.: write it like 'error after 2s'"),
        ("paus", "'paus' is no outage policy, did you mean 'pause'"),
        ("error 2s", "'error 2s' is no outage policy"),
        ("error after", "'error after' is no outage policy"),
        ("error after 2", "'2' is not a duration"),
        ("hold after 2s", "'hold after 2s': a guest is held for as long as it takes: leave"),
        ("error after 86401s", "outage after 86401s: give 0 to 86400s"),
    ],
)
def test_what_is_none_is_refused_with_the_cure(text, problem):
    with pytest.raises(UserError, match=problem):
        parse_outage(text)


@given(st.sampled_from([WhenOut.PAUSE, WhenOut.ERROR]), st.integers(0, MAX_OUTAGE))
def test_every_policy_has_its_words(action, after_ns):
    text = f"{action.value} after {format_duration(after_ns)}"
    assert parse_outage(text) == OutagePolicy(action, after_ns)


@given(st.text())
def test_any_text_is_a_policy_or_a_users_mistake(text):
    try:
        policy = parse_outage(text)
    except UserError:
        return
    assert policy.action.value in text
