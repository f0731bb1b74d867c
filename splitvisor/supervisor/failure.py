"""A machine that fails while it runs, and getting one failure out of trio's groups.

A mistake of the user's is a UserError and ends with status 2. A machine that cannot go on though
nobody made a mistake (its core died, say) is a MachineError: one line as well, another status.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from splitvisor.errors import UserError


class MachineError(Exception):
    """The machine cannot go on: one line that names what happened."""


@contextmanager
def one_failure() -> Iterator[None]:
    """Raise the first UserError or MachineError out of an exception group, bare.

    A group that holds anything else is a bug of ours and passes unchanged.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        known, others = group.split((UserError, MachineError))
        if known is None or others is not None:
            raise
        raise _first(known) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
