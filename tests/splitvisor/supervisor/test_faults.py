"""Which service OS a fault is for."""

from pathlib import Path

import pytest

from protos import faults_pb2 as f
from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Model
from splitvisor.supervisor.faults import service_of


def guest(name, **services):
    devices = [Device(one, Model.BLOCK, "memory", service) for one, service in services.items()]
    return Guest(name, Path("image"), devices=tuple(devices))


GUESTS = (
    guest("web", disk0="storage", hvc0="consoles"),
    guest("mail", disk0="archive", hvc0="consoles"),
)


@pytest.mark.parametrize(
    ("device", "named", "found"),
    [
        ("", "", ""),
        ("", "storage", "storage"),
        ("web/disk0", "", "storage"),
        ("web/disk0", "storage", "storage"),
        ("hvc0", "", "consoles"),
        ("disk0", "", ""),  # there are two: whoever has several service OSes has to name one
        ("disk0", "archive", "archive"),
    ],
)
def test_the_service_os_of_a_device_is_meant(device, named, found):
    guest, _, name = device.rpartition("/")
    assert service_of(GUESTS, f.Fault(guest=guest, device=name), named) == found


@pytest.mark.parametrize(
    ("device", "named", "words"),
    [
        (
            "web/disk0",
            "archive",
            "device web/disk0 is served by service OS storage, not by archive",
        ),
        ("disk0", "consoles", "device disk0 is served by service OS archive or storage, not by c"),
        (
            "web/dsk0",
            "",
            "no device 'web/dsk0' that a service OS serves, did you mean 'web/disk0'?",
        ),
        ("web/balloon0", "storage", "no device 'web/balloon0' that a service OS serves"),
    ],
)
def test_another_one_is_refused_with_the_right_name(device, named, words):
    guest, _, name = device.rpartition("/")
    with pytest.raises(UserError) as raised:
        service_of(GUESTS, f.Fault(guest=guest, device=name), named)
    assert str(raised.value).startswith(words)
