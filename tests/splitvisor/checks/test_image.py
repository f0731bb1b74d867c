"""Images after right and wrong histories."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitvisor.checks.image import check_image
from splitvisor.checks.stamps import make_block
from splitvisor.checks.workload import NEVER
from tests.splitvisor.checks.conftest import SEED, ZEROS

DONE = 60
FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(submitted=st.integers(0, DONE))
def test_the_image_of_what_was_done_agrees(workload, make_disk, image, submitted):
    path = image(make_disk(workload, submitted))
    verdict = check_image(path, workload, submitted, submitted)
    assert (verdict.agrees, verdict.checked) == (True, workload.blocks), verdict.problems


def test_every_lost_write_that_was_the_last_shows(workload, make_disk, image):
    last = set(workload.last_writes(DONE)) - {NEVER}
    assert len(last) > 5
    for number in last:
        path = image(make_disk(workload, DONE, lost={number}))
        verdict = check_image(path, workload, DONE, DONE)
        expected = sum(n == number for n in workload.last_writes(DONE))
        assert verdict.wrong == expected
        assert f"expected write {number} or later" in verdict.problems[0]


def test_an_old_value_after_a_new_one_shows(workload, make_disk, image):
    blocks = make_disk(workload, DONE)
    block, before = next(
        (block, number)
        for number in range(DONE)
        for block, last in enumerate(workload.last_writes(DONE))
        if last > number and workload.operation(number).writes(block)
    )
    blocks[block] = make_block(block, before, SEED)
    verdict = check_image(image(blocks), workload, DONE, DONE)
    assert (verdict.wrong, verdict.problems[0].split(",")[0]) == (
        1,
        f"block {block}: write {before}",
    )


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (ZEROS, "zeros, expected write"),
        (make_block(3, DONE + 8, SEED), "only those below 60 were submitted"),
        (make_block(4, 5, SEED), "index 4, expected 3"),
        (make_block(3, 5, SEED + 1), "seed 6, expected 5"),
        (make_block(3, 5, SEED)[:2048] + make_block(3, 6, SEED)[2048:], "CRC"),
    ],
    ids=["lost", "from the future", "misplaced", "of another run", "torn"],
)
def test_what_cannot_be_there_is_named(workload, make_disk, image, block, problem):
    blocks = make_disk(workload, DONE)
    blocks[3] = block
    verdict = check_image(image(blocks), workload, DONE, DONE)
    assert verdict.wrong == 1
    assert verdict.problems[0].startswith("block 3: ")
    assert problem in verdict.problems[0]


def test_a_write_that_does_not_go_there_is_named(workload, make_disk, image):
    other = next(
        n for n in range(DONE, 200) if not workload.operation(n).writes(3)
    )  # a later one, as a broken guest would have stamped it
    blocks = make_disk(workload, DONE)
    blocks[3] = make_block(3, other, SEED)
    verdict = check_image(image(blocks), workload, DONE)
    assert verdict.problems == [f"block 3: write {other}, which does not go there"]


def test_after_a_sudden_end_later_writes_may_be_there_or_not(workload, make_disk, image):
    for submitted in range(DONE, DONE + 32):
        path = image(make_disk(workload, submitted))
        assert check_image(path, workload, DONE, DONE + 32).agrees
        assert check_image(path, workload, DONE).agrees
    assert not check_image(path, workload, DONE, DONE).agrees


def test_a_failed_write_may_be_there_or_not(workload, make_disk, image):
    failed = max(workload.last_writes(DONE))
    for lost in ((), (failed,)):
        path = image(make_disk(workload, DONE, lost=lost))
        assert check_image(path, workload, DONE, DONE, failed={failed}).agrees


def test_an_image_that_is_too_short_is_wrong(workload, make_disk, image):
    path = image(make_disk(workload, DONE)[:-1])
    assert "0 bytes" in check_image(path, workload, DONE, DONE).problems[-1]
