"""The other end of a copy: a disk that takes over from `block.migrate`, if that had finished.

Whoever asks for the change has seen a finished copy, but between the look and the change anything
may happen: the target fails a write, or the process dies and the copy starts over. So it is looked
at once more, here, when the driver before has done its last request. A refusal to begin is all it
takes for that one to go on.
"""

from dataclasses import dataclass

from drivers.block_migrate import Mark
from drivers.filter import Filter
from drivers.interface import Child, DriverError, Keep


class PivotBlock(Filter):
    """The driver `block.pivot`. Its child is the target of the copy, named in the same words."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The target."""

        child: Child
        keep: Keep

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._mark = Mark(options.keep, options.child)
        self._spec = options.child.spec

    def begin(self) -> None:
        """See Beginning."""
        if not self._mark.is_there():
            raise DriverError(f"the copy to {self._spec} is not complete: wait until it is")
        super().begin()
