import pytest

from protos import core_pb2 as core
from splitvisor.cli import status


def ended(reason, exit_status=0, report=""):
    return core.GuestStatus(name="web", end_reason=reason, exit_status=exit_status, report=report)


@pytest.mark.parametrize(
    ("guest", "expected"),
    [
        (ended(core.END_EXIT, 0), 0),
        (ended(core.END_EXIT, 7), 7),
        (ended(core.END_EXIT, 255), 255),
        (ended(core.END_EXIT, 0x1200), 255),
        (ended(core.END_POWER_OFF), 0),
        (ended(core.END_RESET), 0),
        (ended(core.END_STOPPED), 143),
        (ended(core.END_TRIPLE_FAULT), 125),
        (ended(core.END_CPU_FAILURE), 125),
    ],
)
def test_how_a_guest_ended_as_an_exit_status(guest, expected):
    assert status.of_guest(guest) == expected


def test_how_a_machine_was_ended_as_an_exit_status():
    assert [status.of_end(r) for r in ("SIGINT", "SIGTERM", "SIGHUP", "stopped")] == [
        *(130, 143, 129, 143)
    ]


def test_a_fault_is_told_with_the_report():
    text = status.fault_text(ended(core.END_TRIPLE_FAULT, report="rip 0x1000\n"))
    assert text == "splitvisor: guest web ended by triple fault\nrip 0x1000"


def test_an_exit_with_the_status_of_a_fault_is_no_fault():
    assert status.fault_text(ended(core.END_EXIT, 125)) == ""
