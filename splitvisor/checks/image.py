"""A disk image after a run of storm: does every block hold what could be there?

All writes below some number are known to have completed (and, for a power cut, to have been
flushed). A block must hold the last of these to it, or a later one: a write that had been
submitted by the end may have taken effect. After a run that ended by itself nothing was in flight,
so that only the last write is right.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from splitvisor.checks.stamps import BLOCK, check_block
from splitvisor.checks.verdict import Verdict
from splitvisor.checks.workload import NEVER, Workload

_ZEROS = bytes(BLOCK)

# Of a block that is no good stamp: its bytes, its index, and the last write that must be there.
Excuse = Callable[[bytes, int, int], bool]


def check_image(
    path: Path,
    workload: Workload,
    completed: int,
    submitted: int | None = None,
    failed: Collection[int] = (),
    excused: Excuse = lambda data, block, floor: False,
) -> Verdict:
    """Check all blocks of the workload in the image at `path`.

    All writes below `completed` have completed, but `failed` ones, which may be there or not;
    none from `submitted` on was submitted (None: not known). What is no good stamp is wrong unless
    `excused`.
    """
    verdict = Verdict(workload.blocks)
    floors = workload.last_writes(completed, failed)
    with path.open("rb") as image:
        for block, floor in enumerate(floors):
            data = image.read(BLOCK)
            problem, found = (
                ("", NEVER) if data == _ZEROS else check_block(data, block, workload.seed)
            )
            if problem and excused(data, block, floor):
                continue
            if problem := problem or _wrong(workload, block, floor, found, submitted):
                verdict.add(f"block {block}: {problem}")
    return verdict


def _wrong(workload: Workload, block: int, floor: int, found: int, submitted: int | None) -> str:
    if found < floor:
        name = "zeros" if found == NEVER else f"write {found}"
        return f"{name}, expected write {floor} or later"
    if found != floor and submitted is not None and found >= submitted:
        return f"write {found}, of which only those below {submitted} were submitted"
    if found != NEVER and not workload.operation(found).writes(block):
        return f"write {found}, which does not go there"
    return ""
