import pytest

from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor.plan import child_environment, prepare


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


def test_only_a_service_os_gets_a_token(monkeypatch):
    monkeypatch.setenv("SPLITVISOR_TOKEN", "of somebody else")
    monkeypatch.setenv("OTHER", "stays")
    assert "SPLITVISOR_TOKEN" not in child_environment()
    assert child_environment("secret")["SPLITVISOR_TOKEN"] == "secret"
    assert child_environment()["OTHER"] == "stays"
