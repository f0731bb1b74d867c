"""How many instructions an engine has executed, which Unicorn counts but does not tell.

Its `struct uc_struct` holds the counter of the last run (emu_counter) right before the count that
the run was given (emu_count). They are found by a run with a count that stands out.
"""

import ctypes
from struct import Struct
from typing import Any, Final

from microhypervisor.errors import EnvironmentFault

MARK: Final = 0x5EED_1234  # a count
SEARCHED: Final = 2048  # bytes of the structure; its size is not known
WORD = Struct("<Q")


class Counter:
    """The counter of the engine's last run, which must have been given MARK as its count."""

    def __init__(self, uc: Any) -> None:
        start = uc._uch.value
        place = bytes((ctypes.c_char * SEARCHED).from_address(start)).find(WORD.pack(MARK))
        if place < WORD.size:
            raise EnvironmentFault("this Unicorn counts elsewhere: use unicorn 2.1.4")
        self._counter = ctypes.c_uint64.from_address(start + place - WORD.size)

    def begun(self, count: int) -> int:
        """Instructions begun in the last run of at most `count`; the one that ended it included."""
        return min(self._counter.value, count)
