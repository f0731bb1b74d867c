"""How many instructions an engine has executed, which Unicorn counts but does not tell.

Its `struct uc_struct` holds the number of instructions that the last run has begun (emu_counter),
right before how many it was allowed (emu_count); it ends before the first one too many. They are
found by a run whose count stands out.

Lowering the second is the one way to end a run from within that loses nothing: after emu_stop(),
Unicorn forgets an instruction that was accessing a device, and miscounts.

The counting is done by a hook (count_hook, right before the two), which keeps a table of all blocks
that it was ever translated into. A guest has 2^47 addresses for them; so it can be dropped, and
Unicorn makes a new one.
"""

import ctypes
from contextlib import suppress
from struct import Struct
from typing import Any, Final

from microhypervisor.errors import EnvironmentFault

MARK: Final = 0x5EED_1234  # a count
BLOCKS: Final = 2  # in that run
SEARCHED: Final = 2048  # bytes of the structure; its size is not known
WORD = Struct("<Q")
HOOK = Struct("<24xQQ16xQ")  # struct hook: begin, end, table; what is everywhere has 1 and 0
TABLE = Struct("<12xi")  # GHashTable: its size


class Counter:
    """The counts of an engine, whose last run must have been given MARK."""

    def __init__(self, uc: Any) -> None:
        start = uc._uch.value
        place = bytes((ctypes.c_char * SEARCHED).from_address(start)).find(WORD.pack(MARK))
        if place < 2 * WORD.size:
            raise EnvironmentFault("this Unicorn counts elsewhere: use unicorn 2.1.4")
        self._uc = uc
        self._counts = (ctypes.c_uint64 * 2).from_address(start + place - WORD.size)
        self._hook = ctypes.c_uint64.from_address(start + place - 2 * WORD.size)
        *bounds, _ = HOOK.unpack(ctypes.string_at(self._hook.value, HOOK.size))
        if bounds != [1, 0] or self.blocks() != BLOCKS:
            raise EnvironmentFault("this Unicorn counts by other means: use unicorn 2.1.4")

    def executed(self) -> int:
        """Instructions of the last run; one that has failed counts."""
        begun, allowed = self._counts
        return min(begun, allowed)

    def early(self) -> bool:
        """Whether the last run ended of itself, neither at its count nor by end()."""
        begun, allowed = self._counts
        return begun <= allowed

    def blocks(self) -> int:
        """How many blocks Unicorn keeps in mind."""
        if not self._hook.value:
            return 0
        *_, table = HOOK.unpack(ctypes.string_at(self._hook.value, HOOK.size))
        return int(TABLE.unpack(ctypes.string_at(table, TABLE.size))[0])

    def forget(self) -> None:
        """Have it keep none in mind. Nothing is translated then; CR2 may be lost."""
        with suppress(KeyError):  # the hook is Unicorn's own, so Python does not know it
            self._uc.hook_del(self._hook.value)
        self._hook.value = 0

    def end(self) -> None:
        """Let the run under way end after the instruction that is being executed."""
        self._counts[1] = self._counts[0]
