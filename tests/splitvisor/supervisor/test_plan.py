import pytest

from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor.plan import child_environment, prepare
from splitvisor.testing.testbed import guest_image


def test_options_are_checked_before_images_are_read(tmp_path):
    device = Device("disk0", Model.BLOCK, "fiel:path=x")
    guest = Guest("web", tmp_path / "missing", devices=(device,))
    with pytest.raises(UserError, match=r"^guest web, device disk0: no block driver 'fiel', did"):
        prepare(Machine("lab", (guest,)))


def test_a_file_that_two_guests_would_write_is_refused_before_images_are_read(tmp_path):
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(512))
    devices = (Device("disk0", Model.BLOCK, f"file:path={disk}"),)
    guests = [Guest(name, tmp_path / "missing", devices=devices) for name in ("one", "two")]
    with pytest.raises(UserError, match=r"disk\.img is used by one/disk0 and two/disk0"):
        prepare(Machine("lab", tuple(guests)))


def test_a_missing_image_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match="missing does not exist"):
        prepare(Machine("lab", (Guest("web", tmp_path / "missing"),)))


def test_the_core_hears_of_addresses_that_follow_from_where_the_machine_runs(tmp_path):
    devices = (Device("hvc0", Model.CONSOLE, "null"), Device("net0", Model.NET, "switch:name=lan"))
    plan = prepare(Machine("lab", (Guest("net", guest_image("net"), devices=devices),)))
    specs = []
    for name in ("lab", "lab-2", "lab"):
        there = plan.in_folder(tmp_path / name)
        ((guest, built),) = there.guests
        assert there.machine.guests == (guest,)
        assert [d.spec for d in built.config.devices] == [d.spec for d in guest.devices]
        assert built.config.devices[0] == plan.guests[0][1].config.devices[0]
        specs.append(guest.devices[1].spec)
    assert specs[0] == specs[2] != specs[1]
    assert all(spec.startswith("switch:name=lan,mac=") for spec in specs)


def test_only_a_service_os_gets_a_token(monkeypatch):
    monkeypatch.setenv("SPLITVISOR_TOKEN", "of somebody else")
    monkeypatch.setenv("OTHER", "stays")
    assert "SPLITVISOR_TOKEN" not in child_environment()
    assert child_environment("secret")["SPLITVISOR_TOKEN"] == "secret"
    assert child_environment()["OTHER"] == "stays"
