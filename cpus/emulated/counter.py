"""How many instructions an engine has executed, which Unicorn counts but does not tell.

Its `struct uc_struct` holds the number of instructions that the last run has begun (emu_counter),
right before how many it was allowed (emu_count); it ends before the first one too many. They are
found by a run whose count stands out.

Lowering the second is the one way to end a run from within that loses nothing: after emu_stop(),
Unicorn forgets an instruction that was accessing a device, and miscounts.
"""

import ctypes
from struct import Struct
from typing import Any, Final

from microhypervisor.errors import EnvironmentFault

MARK: Final = 0x5EED_1234  # a count
SEARCHED: Final = 2048  # bytes of the structure; its size is not known
WORD = Struct("<Q")


class Counter:
    """The counts of an engine, whose last run must have been given MARK."""

    def __init__(self, uc: Any) -> None:
        start = uc._uch.value
        place = bytes((ctypes.c_char * SEARCHED).from_address(start)).find(WORD.pack(MARK))
        if place < WORD.size:
            raise EnvironmentFault("this Unicorn counts elsewhere: use unicorn 2.1.4")
        self._counts = (ctypes.c_uint64 * 2).from_address(start + place - WORD.size)

    def executed(self) -> int:
        """Instructions of the last run; one that has failed counts."""
        begun, allowed = self._counts
        return min(begun, allowed)

    def end(self) -> None:
        """Let the run under way end after the instruction that is being executed."""
        self._counts[1] = self._counts[0]
