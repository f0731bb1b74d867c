"""A host without descriptors or threads: one device is refused, and nothing of it is left."""

import threading

import pytest

from microhypervisor.errors import PeerFault
from tests.sessions.scarce import descriptors
from tests.sessions.services import Disk

FULL = "Too many open files"


def test_a_device_without_a_window_is_refused_and_forgotten(services):
    disk = Disk("disk0")
    disk.device.config.inline_payload = False
    services.disks.append(disk)
    with descriptors(0), pytest.raises(PeerFault, match=f"device disk0: cannot map .*{FULL}"):
        services.directory.add(disk.device)
    assert services.directory.attachments == []
    assert services.connect(2) == ([], "")


def test_a_device_is_forgotten_whatever_is_wrong_with_it(services, monkeypatch):
    disk = Disk("disk0")
    services.disks.append(disk)
    monkeypatch.setattr(services, "_open", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        services.directory.add(disk.device)
    assert services.directory.attachments == []


@pytest.fixture
def two(services):
    """Two devices, of which the first to begin has a window from now on; nobody serves them."""
    disks = [services.disk("disk0"), services.disk("disk1")]
    disks[0].device.config.inline_payload = False
    services.die(1)
    return disks


def others_are_served(services, two, problem):
    results, guilty = services.connect(2)
    said = {device: str(problem or "") for device, problem in results}
    assert problem in said.pop(two[0].device)
    assert said == {two[1].device: ""}
    assert guilty == ""
    assert [services.directory.epoch_of(disk.device) for disk in two] == [None, 2]


def test_without_descriptors_one_device_is_a_problem_and_others_are_served(services, two):
    with descriptors(0):
        others_are_served(services, two, FULL)
    assert [str(problem or "") for _, problem in services.connect(3)[0]] == ["", ""]


def test_so_it_is_without_threads(services, two, monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "session g/disk0":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    others_are_served(services, two, "the host refuses: can't start new thread")
