"""Which devices are found to be lost after events were missed, by two looks at a scripted core."""

import pytest
import trio

from protos import core_pb2 as core
from splitvisor.supervisor.missed import LOOKS_APART, Missed

AWAY = {"name": "disk0", "service": "io"}
SERVED = {**AWAY, "attached": True, "epoch": 1}


class Service:
    """A keeper whose incarnation is to serve every device but those in `excused`."""

    def __init__(self):
        self.epoch, self.excused, self.heard = 1, set(), []

    def serves(self, device):
        return None if device in self.excused else self.epoch

    def lost(self, epoch, device, why):
        self.heard.append((epoch, device))


def guest(*devices, state=core.GUEST_RUNNING):
    return core.GuestStatus(
        name="web", state=state, devices=[core.DeviceStatus(**device) for device in devices]
    )


async def found(*looks, service=None, between=lambda: None):
    """What is told to be lost; each look finds the guests given, the last one for ever."""
    service, seen, looks = service or Service(), 0, list(looks)

    async def statuses():
        nonlocal seen
        seen += 1
        if seen == 2:
            between()
        return looks.pop(0) if len(looks) > 1 else looks[0]

    missed = Missed({"io": service}, statuses)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(missed.keep)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == 0
        missed.noticed()
        await trio.sleep(LOOKS_APART * 3.5)
        nursery.cancel_scope.cancel()
    assert seen >= 2
    return service.heard


async def test_a_device_that_is_away_in_two_looks_is_lost(autojump_clock):
    assert await found([guest(SERVED, {**AWAY, "name": "disk1"})]) == [(1, "web/disk1")]


@pytest.mark.parametrize(
    "devices",
    [
        {"state": core.GUEST_ENDED},
        {"failing": "its image is gone"},
        {"service": "other"},
        {"service": "", "attached": True},
    ],
    ids=["ended", "failing", "of-nobody", "of-the-core"],
)
async def test_others_are_not(autojump_clock, devices):
    state = devices.pop("state", core.GUEST_RUNNING)
    assert await found([guest({**AWAY, **devices}, state=state)]) == []


async def test_one_that_comes_back_is_not(autojump_clock):
    assert await found([guest(AWAY)], [guest(SERVED)]) == []
    assert await found([guest(SERVED)], [guest(AWAY)]) == []


async def test_one_that_the_service_os_is_not_to_serve_is_not(autojump_clock):
    service = Service()
    service.excused = {"web/disk0"}
    assert await found([guest(AWAY)], service=service) == []


async def test_one_that_another_incarnation_is_to_serve_by_now_is_not(autojump_clock):
    service = Service()

    def promoted():
        service.epoch = 2

    assert await found([guest(AWAY)], service=service, between=promoted) == []


async def test_a_core_that_does_not_answer_is_asked_again(autojump_clock):
    assert await found([], [guest(AWAY)]) == [(1, "web/disk0")]
