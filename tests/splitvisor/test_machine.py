from pathlib import Path

import pytest

from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Machine, Model, check_name, standard_devices


def guest(name="web", **settings):
    return Guest(name, Path("web.elf"), **settings)


def test_a_guest_has_console_serial_port_entropy_and_its_disks():
    devices = standard_devices("terminal", "log:path=a.log", ["memory:size=1M", "file:path=b"])
    assert [(d.name, d.model.value, d.spec) for d in devices] == [
        ("hvc0", "console", "terminal"),
        ("com1", "uart", "log:path=a.log"),
        ("rng0", "entropy", "system"),
        ("disk0", "block", "memory:size=1M"),
        ("disk1", "block", "file:path=b"),
    ]


def test_a_uart_takes_console_drivers():
    assert [model.driver_kind for model in Model] == ["block", "console", "entropy", "console"]


@pytest.mark.parametrize("name", ["a", "0", "web-1.test_x", "x" * 32])
def test_plain_names_are_accepted(name):
    check_name("guest", name)


@pytest.mark.parametrize(
    "name", ["", "-a", ".", "../x", "a/b", "A", "a b", "a\n", "x" * 33, "\u0663"]
)
def test_names_that_are_no_file_names_are_refused(name):
    with pytest.raises(UserError, match=r"guest name .*begin with a letter or digit"):
        check_name("guest", name)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"memory": 64 << 20 | 1}, "multiple of 4K"),
        ({"memory": 1 << 20}, "memory 1M: give 2M to 1T"),
        ({"memory": 2 << 40}, "memory 2T: give 2M to 1T"),
        ({"vcpus": 0}, "vcpus 0: give 1 to 255"),
        ({"vcpus": 256}, "vcpus 256: give 1 to 255"),
        ({"name": "Web"}, "guest name 'Web'"),
    ],
)
def test_impossible_guests_are_refused(settings, problem):
    with pytest.raises(UserError, match=problem):
        guest(**settings)


def test_two_devices_of_a_guest_do_not_share_a_name():
    disk = Device("disk0", Model.BLOCK, "memory:size=1M")
    with pytest.raises(UserError, match="guest web: device disk0 is there twice: rename one"):
        guest(devices=(disk, disk))


def test_the_balloon_takes_its_name_only_where_there_is_one():
    devices = (Device("balloon0", Model.BLOCK, "memory:size=1M"),)
    with pytest.raises(UserError, match="guest web: device balloon0 is there twice: rename one"):
        guest(devices=devices, balloon=True)
    assert not guest(devices=devices).balloon


def test_two_guests_do_not_share_a_name():
    with pytest.raises(UserError, match="guest web is there twice"):
        Machine("lab", (guest(), guest()))


def test_a_device_is_served_by_a_service_of_its_machine():
    stray = guest(devices=(Device("disk0", Model.BLOCK, "memory:size=1M", "storage"),))
    with pytest.raises(UserError, match="disk0 is served by storage, which is not among"):
        Machine("lab", (stray,))
    assert Machine("lab", (stray,), ("service", "storage")).guests == (stray,)
