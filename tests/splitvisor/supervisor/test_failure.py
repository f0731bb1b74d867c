import pytest

from splitvisor.errors import UserError
from splitvisor.supervisor.failure import MachineError, one_failure


def test_the_first_known_failure_comes_out_of_nested_groups():
    group = ExceptionGroup("a", [ExceptionGroup("b", [MachineError("the core died")])])
    with pytest.raises(MachineError, match="the core died") as caught, one_failure():
        raise group
    assert caught.value.__suppress_context__


def test_a_bug_beside_a_known_failure_is_not_hidden():
    with pytest.raises(ExceptionGroup) as caught, one_failure():
        raise ExceptionGroup("a", [UserError("x"), ZeroDivisionError()])
    assert caught.group_contains(ZeroDivisionError)


def test_single_errors_pass():
    with pytest.raises(UserError, match="x"), one_failure():
        raise UserError("x")
