"""Random bytes from the host's kernel, which keeps no state here that could repeat."""

import os
from dataclasses import dataclass


class SystemEntropy:
    """The driver `entropy.system`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """None."""

    def __init__(self, options: Options) -> None:
        pass

    def fill(self, into: memoryview) -> None:
        """See EntropyDriver."""
        done = 0
        while done < len(into):
            piece = os.getrandom(len(into) - done)
            into[done : done + len(piece)] = piece
            done += len(piece)

    def close(self) -> None:
        """See Driver."""
