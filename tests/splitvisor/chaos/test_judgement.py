"""What guests leave behind is judged by all checkers."""

import struct
import zlib

import pytest

from splitvisor.chaos.judgement import Remains, judge
from splitvisor.chaos.plan import Disk
from splitvisor.checks.stamps import make_block
from splitvisor.checks.workload import NEVER
from tests.splitvisor.checks.conftest import ZEROS

DONE = 8000  # what the guest says in `said`


def blocks_after(workload, below, failed=()):
    """The disk when all operations below a number are done, but for some that failed."""
    return [
        ZEROS if number == NEVER else make_block(block, number, workload.seed)
        for block, number in enumerate(workload.last_writes(below, failed))
    ]


@pytest.fixture
def remains(tmp_path, workload, said, image):
    """Of a guest with which all is well."""
    console, uart = tmp_path / "web.log", tmp_path / "web.com1.log"
    console.write_text("".join(said(workload, 6)))
    uart.write_bytes(b"")
    well = image(blocks_after(workload, DONE), "well.img")

    def make(**changes):
        fields = {
            "name": "web",
            "console": console,
            "uart": uart,
            "image": well,
            "disk": Disk.FILE,
            "ended": True,
        }
        return Remains(**fields | changes)

    return make


def test_all_is_well(remains):
    log, problems = judge(remains())
    assert problems == []
    assert log is not None
    assert log.passed


def test_a_lost_write_shows_in_the_image(remains, workload, image):
    lost = max(workload.last_writes(DONE))
    path = image(blocks_after(workload, DONE, {lost}))
    (problem,) = judge(remains(image=path))[1]
    assert problem.startswith("web: the disk: ")
    assert f"expected write {lost} or later" in problem
    assert judge(remains(image=path, disk=Disk.MEMORY))[1] == []


def test_a_doubled_line_shows_in_the_console(remains, workload, said):
    lines = said(workload, 6)
    bad = remains()
    bad.console.write_text("".join([*lines[:2], *lines[1:]]))
    (problem,) = judge(bad)[1]
    assert problem.startswith("web: the console: ")


def test_an_error_and_the_guests_own_verdict_show(remains, workload, said):
    bad = remains()
    text = "".join(said(workload, 6))
    bad.console.write_text(text.replace("errors=0", "errors=2"))
    assert "web: 2 I/O errors" in judge(bad)[1]
    bad.console.write_text(text.replace("PASS 9000 requests", "FAIL the disk needs a reset"))
    assert "web: the guest says: FAIL the disk needs a reset" in judge(bad)[1]
    bad.console.write_text(text.replace("storm: PASS 9000 requests\n", ""))
    assert "web: the guest says: nothing" in judge(bad)[1]


def test_what_came_over_com1_is_compared(remains):
    bad = remains(ended=False)
    bad.uart.write_bytes(b"storm: uart x\n")
    (problem,) = judge(bad)[1]
    assert problem.startswith("web: com1: ")


def test_a_guest_that_never_began(remains, tmp_path):
    nobody = tmp_path / "nobody.log"
    assert judge(remains(console=nobody)) == (None, ["web: it never began"])
    assert judge(remains(console=nobody, ended=False)) == (None, [])


def test_a_guest_that_was_stopped_has_what_it_flushed(remains, workload, said, image):
    stopped = remains(ended=False, image=image(blocks_after(workload, 520)))
    stopped.console.write_text("".join(said(workload, 6)[:-2]) + "storm: li")
    assert judge(stopped)[1] == []  # 500 were flushed
    early = remains(ended=False, image=image(blocks_after(workload, 480)))
    (problem,) = judge(early)[1]
    assert problem.startswith("web: the disk: ")


def test_after_a_loss_of_power_what_was_flushed_is_there(remains, workload, said, image):
    """The last of the writes that were not flushed waits in the log."""
    flushed, after = 500, 530
    number, block = next(
        (number, operation.first)
        for number in range(flushed, after)
        if (operation := workload.operation(number)).writes(operation.first)
    )
    data = make_block(block, number, workload.seed)
    for blocks, well in (
        (blocks_after(workload, flushed), True),
        ([ZEROS] * workload.blocks, False),
    ):
        path = image(blocks)
        header = (b"SVPCLOG1", 0, block * len(data), len(data), zlib.crc32(data), 0)
        log = path.with_name("disk.img.log")
        log.write_bytes(struct.pack("<8sQQIIQ", *header) + data)
        cut = remains(ended=False, disk=Disk.POWERCUT, image=path, cut=3)
        cut.console.write_text("".join(said(workload, 6)[:-2]))
        problems = judge(cut)[1]
        assert (problems == []) == well
        assert well or problems[0].startswith("web: the disk after the loss of power: ")


def test_a_log_of_what_was_not_flushed_that_makes_no_sense_is_a_problem(
    remains, workload, said, image
):
    path = image(blocks_after(workload, 500))
    path.with_name("disk.img.log").write_bytes(bytes(100))
    cut = remains(ended=False, disk=Disk.POWERCUT, image=path, cut=3)
    cut.console.write_text("".join(said(workload, 6)[:-2]))
    (problem,) = judge(cut)[1]
    assert "no record 0 at byte 0" in problem


@pytest.mark.parametrize("lost", ["=8000", "submitted=8000 "])
def test_a_result_line_that_is_not_whole_is_a_problem(remains, workload, said, lost):
    bad = remains()
    bad.console.write_text("".join(said(workload, 6)).replace(lost, ""))
    assert judge(bad)[1] == ["web: the guest's result line is not whole"]
