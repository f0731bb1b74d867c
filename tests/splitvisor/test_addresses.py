from pathlib import Path

import pytest

from drivers.ethernet import parse_mac
from drivers.interface import SpecError
from splitvisor.addresses import address, addressed, place_of
from splitvisor.machine import Device, Guest, Machine, Model

PLACE = "host/run/lab"


def specs(*nets):
    """What becomes of the specs of a guest's cards."""
    devices = [Device(f"net{i}", Model.NET, spec) for i, spec in enumerate(nets)]
    devices.append(Device("disk0", Model.BLOCK, "memory:size=1M"))
    done = addressed(Machine("lab", (Guest("web", Path("x"), devices=tuple(devices)),)), PLACE)
    *found, disk = done.guests[0].devices
    assert disk == devices[-1]
    return [device.spec for device in found]


def test_an_address_is_that_of_a_single_device_and_chosen_locally():
    for number in range(200):
        mac = parse_mac(address(PLACE, "web", f"net{number}"))
        assert mac[0] & 3 == 2


def test_an_address_follows_from_place_guest_and_device_and_nothing_else():
    names = [(PLACE, "web", "net0"), (PLACE, "web", "net1"), (PLACE, "db", "net0"), ("l", "w", "n")]
    assert len({address(*name) for name in names}) == 4
    assert specs("null", "null") == [
        f"null:mac={address(PLACE, 'web', 'net0')}",
        f"null:mac={address(PLACE, 'web', 'net1')}",
    ]


def test_a_place_is_a_folder_of_a_host(tmp_path, monkeypatch):
    places = [place_of(tmp_path / name) for name in ("lab", "lab-2", "lab")]
    assert places[0] == places[2] != places[1]
    (tmp_path / "link").symlink_to(tmp_path)
    assert place_of(tmp_path / "link" / "lab") == places[0]
    for number, host in enumerate(("", "a", "b")):
        file = tmp_path / str(number)
        if host:
            file.write_text(f"{host}\n")
        monkeypatch.setattr("splitvisor.addresses.HOST", file)
        places.append(place_of(tmp_path / "lab"))
    assert len(set(places)) == 5
    assert places[3] == str(tmp_path / "lab")


@pytest.mark.parametrize(
    "spec",
    [
        "switch:name=lan,mac=52:54:00:12:34:56",
        "faulty:child=(switch:name=lan,mac=52:54:00:12:34:56)",
        "faulty:child=(pcap:path=x.pcap,child=(null:mac=52:54:00:12:34:56))",
        "pcap:path=x.pcap,mac=52:54:00:12:34:56,child=(null)",
    ],
)
def test_an_address_that_was_given_stays_wherever_it_stands(spec):
    assert specs(spec) == [spec]


def test_of_a_stack_the_outermost_gets_it():
    (spec,) = specs("faulty:loss=0.5,child=(switch:name=lan)")
    assert spec.endswith(f",mac={address(PLACE, 'web', 'net0')}")
    assert specs(spec) == [spec]


def test_a_driver_that_is_not_there_is_named():
    with pytest.raises(SpecError, match="no net driver 'swich', did you mean 'switch'"):
        specs("swich:name=lan")
