"""What is looked at before a driver is swapped, and what is known afterwards."""

from dataclasses import replace
from pathlib import Path

import pytest

from protos import operator_pb2 as operator
from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor.events import DriverSwapped
from splitvisor.supervisor.locks import Locks
from splitvisor.supervisor.swaps import Swaps, planned


@pytest.fixture
def folder(tmp_path):
    for name in ("a.img", "b.img"):
        (tmp_path / name).write_bytes(bytes(512))
    return tmp_path


@pytest.fixture
def machine(folder):
    devices = (
        Device("disk0", Model.BLOCK, f"file:path={folder}/a.img"),
        Device("hvc0", Model.CONSOLE, f"log:path={folder}/web.log"),
        Device("rng0", Model.ENTROPY, "system"),
        Device("net0", Model.NET, "switch:name=lan,mac=02:00:00:00:00:01"),
    )
    return Machine("lab", (Guest("web", Path("a.elf"), devices=devices, balloon=True),))


def plan(machine, folder, device, spec, content=operator.CONTENT_SAME):
    request = operator.SwapDriverRequest(device=device, spec=spec, content=content)
    request.root = str(folder)
    return planned(machine, request)


def specs(machine):
    return [device.spec for device in machine.guests[0].devices]


def test_the_machine_has_the_new_spec_with_its_paths_where_the_client_is(machine, folder):
    spec = "throttle:iops=5,child=(file:path=a.img)"
    after, idle = plan(machine, folder, "web/disk0", spec)
    rooted = f"throttle:iops=5,child=(file:path={folder}/a.img)"
    assert specs(after) == [rooted, *specs(machine)[1:]]
    assert not idle


def test_other_content_needs_a_word_and_an_idle_guest(machine, folder):
    with pytest.raises(UserError, match=r"b.img serves other content than file:path=.*a.img: --c"):
        plan(machine, folder, "web/disk0", "file:path=b.img")
    with pytest.raises(UserError, match="may serve other content than"):
        plan(machine, folder, "web/disk0", "file:path=none.img")
    replaced = operator.CONTENT_REPLACED
    assert plan(machine, folder, "web/disk0", "file:path=b.img", replaced)[1]
    assert not plan(machine, folder, "web/disk0", "file:path=a.img,direct", replaced)[1]


def test_an_export_that_another_disk_writes_is_refused(machine, folder):
    spec = f"nbd:socket={folder}/x.sock"
    other = Device("disk1", Model.BLOCK, spec)
    (web,) = machine.guests
    machine = replace(machine, guests=(replace(web, devices=(*web.devices, other)),))
    words = "x.sock is used by web/disk0 and web/disk1, and not only read: give each an export"
    with pytest.raises(UserError, match=words):
        plan(machine, folder, "web/disk0", spec, operator.CONTENT_REPLACED)
    plan(machine, folder, "web/disk0", f"{spec},export=mine", operator.CONTENT_REPLACED)
    plan(machine, folder, "web/disk1", f"throttle:iops=5,child=({spec})")


def test_a_driver_takes_over_from_itself_whatever_it_can_tell(machine, folder):
    (folder / "a.img").unlink()
    assert not plan(machine, folder, "web/disk0", "file:path=a.img")[1]


@pytest.mark.parametrize(
    ("device", "spec"), [("hvc0", "null"), ("rng0", "seeded:seed=1"), ("net0", "user")]
)
def test_what_is_no_disk_has_no_content(machine, folder, device, spec):
    assert not plan(machine, folder, f"web/{device}", spec)[1]


def test_a_card_keeps_its_address_unless_it_is_given_another(machine, folder):
    after, _ = plan(machine, folder, "web/net0", "switch:name=other")
    assert specs(after)[3] == "switch:name=other,mac=02:00:00:00:00:01"
    other = "faulty:child=(switch:name=other,mac=02:00:00:00:00:02)"
    after, _ = plan(after, folder, "web/net0", other)
    assert specs(after)[3] == other
    after, _ = plan(after, folder, "web/net0", "null")
    assert specs(after)[3] == "null:mac=02:00:00:00:00:02"


@pytest.mark.parametrize(
    ("device", "spec", "problem"),
    [
        ("web/disk1", "null:size=1M", "no device 'web/disk1', did you mean 'web/disk0'"),
        ("web/balloon0", "null", "device web/balloon0 is served by the core itself"),
        ("web/disk0", "fil:path=a.img", "web/disk0: no block driver 'fil', did you mean 'file'"),
        ("web/disk0", "file:pth=a.img", "web/disk0: block driver 'file' has no option 'pth'"),
        ("web/hvc0", "log:path=a.img", "a.img is used by web/disk0 and web/hvc0, and not only"),
    ],
)
def test_what_can_be_known_to_be_wrong_is_said_in_one_line(machine, folder, device, spec, problem):
    with pytest.raises(UserError) as raised:
        plan(machine, folder, device, spec)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


class Service:
    """Swaps, or does not."""

    def __init__(self):
        self.asked = []
        self.refuses = False

    async def swap(self, device, old, new, idle):
        self.asked.append((device, old, new, idle))
        if self.refuses:
            raise UserError("no")
        return DriverSwapped("service", 7, 2, device, old, new, 3_000_000)


class Guests:
    """Note what they are told."""

    def __init__(self):
        self.told = []

    def swapped(self, *what):
        self.told.append(what)


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def guests():
    return Guests()


@pytest.fixture
def swaps(machine, service, guests):
    with Locks() as locks:
        locks.take(machine)
        yield Swaps(machine, {"service": service}, guests, locks)


def is_free(path):
    """Whether another machine could have it."""
    disk = Device("disk0", Model.BLOCK, f"file:path={path}")
    other = Machine("other", (Guest("db", Path("a.elf"), devices=(disk,)),))
    with Locks() as locks:
        try:
            locks.take(other)
        except UserError:
            return False
    return True


@pytest.mark.parametrize("terminal", [True, False])
async def test_only_a_machine_that_has_a_terminal_gives_a_console_to_it(machine, guests, terminal):
    request = operator.SwapDriverRequest(device="web/hvc0", spec="terminal")
    with Locks() as locks:
        service = Service()
        swaps = Swaps(machine, {"service": service}, guests, locks, terminal)
        if terminal:
            assert (await swaps.swap(request)).swap.new == "terminal"
        else:
            with pytest.raises(UserError, match="in the background has no terminal: give a log"):
                await swaps.swap(request)
            assert service.asked == []


async def test_afterwards_the_new_spec_is_known_and_its_file_locked(swaps, service, guests, folder):
    new = f"file:path={folder}/b.img"
    request = operator.SwapDriverRequest(device="web/disk0", spec=new)
    request.content = operator.CONTENT_REPLACED
    reply = await swaps.swap(request)
    old = f"file:path={folder}/a.img"
    assert (reply.pid, reply.epoch) == (7, 2)
    assert reply.swap == operator.Swap(old=old, new=new, pause_ms=3)
    assert service.asked == [("web/disk0", old, new, True)]
    assert specs(swaps.machine)[0] == new
    assert guests.told == [("web", "disk0", new)]
    assert (is_free(folder / "a.img"), is_free(folder / "b.img")) == (True, False)


async def test_after_a_refusal_all_is_as_before(swaps, service, guests, machine, folder):
    service.refuses = True
    request = operator.SwapDriverRequest(device="web/disk0", spec=f"file:path={folder}/b.img")
    request.content = operator.CONTENT_REPLACED
    with pytest.raises(UserError, match="no"):
        await swaps.swap(request)
    assert (swaps.machine, guests.told) == (machine, [])
    assert (is_free(folder / "a.img"), is_free(folder / "b.img")) == (False, True)


async def test_a_file_that_another_machine_uses_is_not_even_opened(swaps, service, folder):
    disk = Device("disk0", Model.BLOCK, f"file:path={folder}/b.img")
    with Locks() as locks:
        locks.take(Machine("other", (Guest("db", Path("a.elf"), devices=(disk,)),)))
        request = operator.SwapDriverRequest(device="web/disk0", spec=f"file:path={folder}/b.img")
        request.content = operator.CONTENT_REPLACED
        with pytest.raises(UserError, match=r"b.img is in use by another process"):
            await swaps.swap(request)
    assert service.asked == []
    assert (is_free(folder / "a.img"), is_free(folder / "b.img")) == (False, True)
