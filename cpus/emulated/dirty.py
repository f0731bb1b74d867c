"""Finds what changed in guest RAM, for writes that Unicorn's hooks do not show.

Those are the accessed and dirty bits that the processor sets in page tables, and the rest of an
instruction that was under way when tracking began. Costs a copy of the RAM while it is on.
A comparison alone would not do: a page may change and change back around somebody's copy of it.
"""

from typing import Final

from microhypervisor.memory.ram import PAGE, DirtyPages, GuestMemory, RegionKind

CHUNK: Final = 256 * PAGE  # compared at once, as most has not changed


class Comparison:
    """Guest RAM as it was at the last look. No vCPU runs meanwhile."""

    def __init__(self, memory: GuestMemory) -> None:
        self._ram = [
            range(region.offset, region.offset + region.size, CHUNK)
            for region in memory.regions
            if region.kind is RegionKind.RAM
        ]
        self._view = memory.view
        self._before = bytearray(memory.view)

    def mark_changed(self, dirty: DirtyPages) -> None:
        """Mark the pages that differ from the last look, which this one replaces."""
        for region in self._ram:
            for start in region:
                end = min(start + CHUNK, region.stop)
                now, before = bytes(self._view[start:end]), self._before[start:end]
                if now == before:
                    continue
                for at in range(0, len(now), PAGE):
                    if now[at : at + PAGE] != before[at : at + PAGE]:
                        dirty.mark(start + at, PAGE)
                self._before[start:end] = now
