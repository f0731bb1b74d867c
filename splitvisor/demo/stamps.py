"""Looking at a disk image from outside: is every block what blockcheck wrote last?

The guest proves that it got its data back; only somebody who opens the file without any part of
splitvisor in between can say that the data is really there. Pass p (from 1) writes each block once,
stamped with the numbers from (p - 1) * blocks on, in an order that only the guest knows: so the
numbers found must be exactly those of the last pass, each once.
"""

from pathlib import Path

from splitvisor.checks.stamps import BLOCK, check_block
from splitvisor.checks.verdict import Verdict


def check_image(path: Path, seed: int, passes: int) -> Verdict:
    """Check all blocks of the image at `path` after `passes` passes over the whole of it."""
    blocks = path.stat().st_size // BLOCK
    verdict = Verdict(blocks)
    first = (passes - 1) * blocks
    writers: dict[int, int] = {}
    with path.open("rb") as image:
        for index in range(blocks):
            problem, sequence = check_block(image.read(BLOCK), index, seed)
            if not problem and not first <= sequence < first + blocks:
                problem = f"write {sequence}, expected one of {first}..{first + blocks - 1}"
            if not problem and writers.setdefault(sequence, index) != index:
                problem = f"write {sequence}, like block {writers[sequence]}"
            if problem:
                verdict.add(f"block {index}: {problem}")
    return verdict
