"""A machine by its file, and what there is in it; one after the other, each is real."""

import pytest

from splitvisor.errors import UserError
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.testbed import guest_image
from tests.end_to_end.conftest import tiny

__all__ = ["tiny"]

RESET = bytes.fromhex("b0fe e664 f4")  # mov al, 0xfe; out 0x64, al; hlt


def test_a_file_may_name_its_machine(testbed, tmp_path):
    file = tmp_path / "machine.toml"
    file.write_text(
        f'''
        [machine]
        name = "lab"
        [guests.web]
        image = "{guest_image("hello")}"
        console = "log:path=web.log"
        com1 = false
        '''
    )
    machine = testbed.up(file)
    assert (machine.name, machine.status().name) == ("lab", "lab")
    assert machine.guest().wait().passed


def test_names_that_are_not_there_are_told_in_one_line(testbed):
    machine = testbed.start("echo")
    for look, problem in (
        (machine.guest, "no guest 'ecko', did you mean 'echo'? (known: echo)"),
        (machine.service, "no service OS 'ecko' (known: service)"),
    ):
        with pytest.raises(MachineFailure) as refused:
            look("ecko")
        assert str(refused.value) == f"machine test has {problem}"
    assert machine.guest("echo").name == machine.guest().name == "echo"
    assert machine.service("service").pid == machine.service().pid


def test_requests_of_a_guest_that_has_ended_are_not_waited_for(testbed):
    machine = testbed.start("hello", disks=["memory:size=1M"], failpoints=True)
    machine.guest().wait()
    with pytest.raises(MachineFailure) as never:
        machine.wait_for_requests(1)
    ended = "guest hello has ended: exit, status 0: hello: exit 0"
    assert str(never.value) == f"{ended}; its disk0 is not used"


def test_a_sector_is_one_of_a_disk(testbed):
    machine = testbed.start("echo", failpoints=True)
    with pytest.raises(UserError, match="--sector 8: hvc0 is no disk"):
        machine.fault("kill", device="hvc0", sector=8)
    assert machine.faults() == []


def test_a_guest_that_is_started_anew_has_not_ended(testbed, tiny):
    """Now and then it is not even there."""
    machine = testbed.start(tiny(RESET))
    with pytest.raises(MachineFailure, match=r"^the end of guest tiny: not within 1 s"):
        machine.guest().wait(1)
    machine.wait_for("guest-ended")


def test_a_loss_of_power_spares_machines_with_a_longer_name(testbed):
    first = testbed.start("echo")
    second = testbed.start("storm", arguments="seconds=3600", name="test2")
    second.wait_for_standby()
    before = second.processes()
    first.cut_power()
    assert second.processes() == before
    assert second.service().deaths == 0
