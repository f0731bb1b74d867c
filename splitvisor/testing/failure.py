"""What went wrong with a machine in a test, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager


class MachineFailure(AssertionError):
    """The machine did not do what was waited for, or refused what was asked."""


@contextmanager
def noted(problems: list[str]) -> Iterator[None]:
    """Whatever goes wrong in the body is one more problem, so that nothing is lost of the others.

    What nobody foresaw, a bug in a judge say, is told with its type.
    """
    try:
        yield
    except MachineFailure as failure:
        problems.append(str(failure))
    except Exception as bug:
        problems.append(" ".join(f"{type(bug).__name__}: {bug}".split()))
