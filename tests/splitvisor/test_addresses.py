from pathlib import Path

import pytest

from drivers.ethernet import parse_mac
from drivers.interface import SpecError
from splitvisor.addresses import address, addressed
from splitvisor.machine import Device, Guest, Machine, Model


def specs(*nets, machine="lab", guest="web"):
    """What becomes of the specs of a guest's cards."""
    devices = [Device(f"net{i}", Model.NET, spec) for i, spec in enumerate(nets)]
    devices.append(Device("disk0", Model.BLOCK, "memory:size=1M"))
    done = addressed(Machine(machine, (Guest(guest, Path("x"), devices=tuple(devices)),)))
    *found, disk = done.guests[0].devices
    assert disk == devices[-1]
    return [device.spec for device in found]


def test_an_address_is_that_of_a_single_device_and_chosen_locally():
    for number in range(200):
        mac = parse_mac(address("lab", "web", f"net{number}"))
        assert mac[0] & 3 == 2


def test_an_address_follows_from_all_three_names_and_nothing_else():
    names = [("lab", "web", "net0"), ("lab", "web", "net1"), ("lab", "db", "net0"), ("l", "w", "n")]
    assert len({address(*name) for name in names}) == 4
    assert specs("null", "null") == [
        f"null:mac={address('lab', 'web', 'net0')}",
        f"null:mac={address('lab', 'web', 'net1')}",
    ]


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
    assert spec.endswith(f",mac={address('lab', 'web', 'net0')}")
    assert specs(spec) == [spec]


def test_a_driver_that_is_not_there_is_named():
    with pytest.raises(SpecError, match="no net driver 'swich', did you mean 'switch'"):
        specs("swich:name=lan")
