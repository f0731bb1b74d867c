"""What a machine has in place of the terminal; starting it is in end_to_end/test_up.py."""

from dataclasses import replace
from pathlib import Path

from splitvisor.cli.detach import Detached
from splitvisor.machine import Guest, Machine, Model, standard_devices

NO_FD = -1


def machine_of(console, com1):
    guest = Guest("web", Path("image"), devices=standard_devices(console, com1, ["memory:size=1M"]))
    return Machine("lab", (guest, replace(guest, name="echo")))


def test_consoles_on_the_terminal_get_a_log_each_and_nothing_else_changes(tmp_path):
    machine = machine_of("terminal", "log:path=web.log")
    detached = Detached(NO_FD, machine, tmp_path / "a,b").machine
    for before, guest in zip(machine.guests, detached.guests, strict=True):
        console, com1, *others = guest.devices
        assert console.spec == f"log:path={tmp_path}/a\\,b/lab/{guest.name}.hvc0.out"
        assert [device.spec for device in others] == ["system", "memory:size=1M"]
        assert (com1.model, com1.spec) == (Model.UART, "log:path=web.log")
        assert replace(guest, devices=before.devices) == before


def test_no_two_consoles_share_a_log_and_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guests = Detached(NO_FD, machine_of("terminal", "terminal"), Path("r")).machine.guests
    specs = [device.spec for guest in guests for device in guest.devices[:2]]
    assert specs == [
        f"log:path={tmp_path}/r/lab/{guest}.{device}.out"
        for guest in ("web", "echo")
        for device in ("hvc0", "com1")
    ]
