"""Repeats and zeros are found wherever they are."""

from hypothesis import assume, given
from hypothesis import strategies as st

from splitvisor.checks.entropy import check_entropy

WORDS = st.lists(
    st.binary(min_size=8, max_size=8).filter(any), unique=True, min_size=4, max_size=40
)


def values(words, each=4):
    return [b"".join(words[at : at + each]) for at in range(0, len(words), each)]


@given(words=WORDS)
def test_what_never_repeats_agrees(words):
    verdict = check_entropy(values(words))
    assert (verdict.agrees, verdict.checked) == (True, len(words))


@given(words=WORDS, first=st.integers(0, 39), again=st.integers(0, 39))
def test_a_repeat_is_found_within_a_value_and_between_two(words, first, again):
    first, again = first % len(words), again % len(words)
    assume(first < again)
    words[again] = words[first]
    verdict = check_entropy(values(words))
    assert verdict.wrong == 1
    assert verdict.problems[0].endswith(f"as in value {first // 4}")


def test_zeros_are_found():
    verdict = check_entropy([b"12345678", b"abcdefgh" + bytes(8)])
    assert verdict.problems == ["value 1: zeros at byte 8"]
