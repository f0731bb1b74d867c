"""What goes wrong becomes lines."""

import pytest

from splitvisor.testing.failure import MachineFailure, noted


def test_a_failure_is_its_text_and_a_bug_has_its_type():
    problems = ["before"]
    for error in (MachineFailure("it does not answer"), ValueError("no\nnumber"), KeyError("x")):
        with noted(problems):
            raise error
    with noted(problems):
        pass
    assert problems == ["before", "it does not answer", "ValueError: no number", "KeyError: 'x'"]


def test_a_signal_goes_on():
    problems = []
    with pytest.raises(KeyboardInterrupt), noted(problems):
        raise KeyboardInterrupt
    assert problems == []
