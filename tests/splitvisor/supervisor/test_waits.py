"""What holds a start or an end up is told in time, and once."""

import time
from types import SimpleNamespace

import grpc
import pytest
import trio

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.supervisor import events
from splitvisor.supervisor.waits import ANSWERING, CLOSING, OPENING, Waits

CONFIG = core.GuestConfig(name="web")
for name, service in (("balloon0", ""), ("disk0", "io"), ("hvc0", "io")):
    CONFIG.devices.add(name=name, service=service, spec="file:path=x")
S = 1_000_000_000


class Lab:
    """Waits of a machine with one service OS, the guests that its core lists, and what is told."""

    def __init__(self):
        self.told = []
        self.guests = []
        self.alive = True
        status = operator.ServiceStatus(name="io", pid=7, epoch=2)
        self.service = SimpleNamespace(name="io", status=lambda: status, lives=lambda: self.alive)
        self.waits = Waits({"io": self.service}, self.statuses, lambda e, _: self.told.append(e))

    async def statuses(self):
        return self.guests

    def hear(self, kind, device, at=None):
        now = time.monotonic_ns() if at is None else at
        self.waits.heard(core.Event(kind=kind, guest="web", device=device, monotonic_ns=now))

    def awaited(self, device, stalled_ms=1, **guest):
        status = core.GuestStatus(name="web", state=core.GUEST_RUNNING)
        status.end_reason = core.END_STOPPED
        status.devices.add(name=device, service="io", stalled_ms=stalled_ms)
        for name, value in guest.items():
            setattr(status, name, value)
        return status


@pytest.fixture
def lab():
    return Lab()


def opening(device, begun=False, for_ns=OPENING * S):
    return events.DeviceOpening("io", 7, 2, f"web/{device}", "file", begun, round(for_ns))


async def test_each_device_that_takes_long_is_told_once_and_when_it_is_to_begin_again(
    lab, autojump_clock
):
    async with lab.waits.opening(CONFIG):
        lab.hear(core.EVENT_DEVICE_ATTACHED, "disk0")  # before its turn: of another guest
        await trio.sleep(2 * OPENING)
        assert lab.told == []  # the core itself serves the first
        lab.hear(core.EVENT_DEVICE_ATTACHED, "balloon0")
        lab.hear(core.EVENT_DEVICE_ATTACHED, "disk0", at=1)  # of the guest before this one
        await trio.sleep(OPENING / 2)
        assert lab.told == []
        await trio.sleep(2 * OPENING)
        assert lab.told == [opening("disk0")]
        lab.hear(core.EVENT_DEVICE_STALLED, "disk0")
        await trio.sleep(OPENING / 2)
        lab.hear(core.EVENT_DEVICE_STALLED, "disk0")  # still
        await trio.sleep(OPENING)
        assert lab.told[1:] == [opening("disk0", begun=True)]
        lab.hear(core.EVENT_DEVICE_ATTACHED, "disk0")
        lab.hear(core.EVENT_DEVICE_ATTACHED, "hvc0")
        await trio.sleep(2 * OPENING)
    assert len(lab.told) == 2


async def test_the_cores_answer_comes_as_it_is(lab, autojump_clock):
    with pytest.raises(grpc.RpcError) as raised:
        async with lab.waits.opening(CONFIG):
            raise grpc.RpcError("no")
    assert str(raised.value) == "no"
    async with lab.waits.opening(CONFIG):
        pass


async def test_at_the_end_each_guests_device_is_told_once(lab, autojump_clock):
    lab.guests = [
        lab.awaited("disk0"),
        lab.awaited("hvc0", stalled_ms=0),
        lab.awaited("rng0", state=core.GUEST_ENDED),
        lab.awaited("net0", end_reason=core.END_NONE),
    ]
    patience = trio.CancelScope(deadline=trio.current_time() + 5)
    with patience:
        await lab.waits.tell_of_guests(patience)
    left = round((5 - ANSWERING) * S)
    assert lab.told == [events.DeviceAwaited("io", 7, 2, "web/disk0", left)]


async def test_what_is_still_being_opened_holds_the_end_up(lab, autojump_clock):
    with trio.move_on_after(OPENING / 2):
        async with lab.waits.opening(CONFIG):
            lab.hear(core.EVENT_DEVICE_ATTACHED, "balloon0")
            await trio.sleep_forever()
    patience = trio.CancelScope(deadline=trio.current_time() + 5)
    with patience:
        await lab.waits.tell_of_guests(patience)
    assert lab.told == [opening("disk0", for_ns=(OPENING / 2 + ANSWERING) * S)]


@pytest.mark.parametrize("alive", [True, False])
async def test_a_service_os_that_is_there_for_long_is_told(lab, autojump_clock, alive):
    lab.alive = alive
    await lab.waits.tell_of_service(
        lab.service, trio.CancelScope(deadline=trio.current_time() + 20)
    )
    told = events.ServiceAwaited("io", 7, 2, round((20 - CLOSING) * S))
    assert lab.told == ([told] if alive else [])
