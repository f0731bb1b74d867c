"""Guests of a real core, scheduled otherwise while they are there."""

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.errors import UserError
from splitvisor.image.builder import BuiltGuest
from splitvisor.machine import Guest, Machine, OnReset
from splitvisor.supervisor import events, rpc
from splitvisor.supervisor.guests import GuestKeeper
from splitvisor.supervisor.plan import Plan
from tests.microhypervisor.core import ENTRY, HALTS, RESETS, Core

MS = 1_000_000


@pytest.fixture(scope="module")
def the_core(tmp_path_factory):
    the_core = Core(tmp_path_factory.mktemp("core"))
    yield the_core
    the_core.close()


@pytest.fixture
async def keeper(the_core, tmp_path):
    """Of a guest `web` with two vCPUs, not yet there."""
    guest = Guest("web", tmp_path / "none", vcpus=2)
    built = BuiltGuest(the_core.config("web", "emulated", vcpus=2), ((ENTRY, HALTS),), ())
    plan = Plan(Machine("lab", (guest,)), ((guest, built),))

    async def serving(guest):
        pass

    yield GuestKeeper(plan, the_core.stub, serving, lambda _: None, lambda _: None)
    if any(g.name == "web" for g in the_core.stub.ListGuests(core.ListRequest()).guests):
        the_core.call("Destroy", "web")


@pytest.fixture
async def web(keeper):
    await keeper.start()
    return keeper


async def test_a_guest_that_is_started_anew_has_the_driver_that_was_swapped_in(the_core, tmp_path):
    config = the_core.config("web", "emulated")
    config.devices.add(name="balloon0", model="balloon", spec="old")
    config.devices[0].virtio.CopyFrom(core.VirtioMmio(base=0xD0000000, irq=5))
    built = BuiltGuest(config, ((ENTRY, RESETS),), ())
    guest = Guest("web", tmp_path / "none")
    told = []

    async def serving(guest):
        pass

    plan = Plan(Machine("lab", (guest,)), ((guest, built),))
    keeper = GuestKeeper(plan, the_core.stub, serving, lambda _: None, told.append)
    keeper.swapped("web", "balloon0", "new")
    keeper.swapped("web", "other", "none")
    await keeper.start()
    (status,) = await keeper.statuses()
    assert [(device.name, device.spec) for device in status.devices] == [("balloon0", "new")]
    the_core.call("Destroy", "web")


def ask(**said):
    return operator.SetScheduleRequest(guest="web", **said)


def affinity(*pcpus):
    return operator.Affinity(pcpus=pcpus)


def schedules(status):
    return [vcpu.schedule for vcpu in status.vcpus]


async def test_what_is_left_out_stays_as_it_is(web):
    said = core.Schedule(weight=512, cap=50, budget_ns=MS, period_ns=10 * MS, affinity=[0])
    request = ask(weight=512, cap=50, budget_ns=MS, period_ns=10 * MS, affinity=affinity(0))
    assert schedules(await web.set_schedule(request)) == [said, said]
    for change in (
        {"weight": 1024},
        {"cap": 0},
        {"budget_ns": 2 * MS},
        {"period_ns": 20 * MS},
        {"budget_ns": 0, "period_ns": 0},
    ):
        for name, value in change.items():
            setattr(said, name, value)
        assert schedules(await web.set_schedule(ask(**change))) == [said, said]
    del said.affinity[:]
    assert schedules(await web.set_schedule(ask(affinity=affinity()))) == [said, said]


async def test_one_vcpu_alone(web):
    usual, other = core.Schedule(weight=256), core.Schedule(weight=256, cap=30)
    assert schedules(await web.set_schedule(ask(vcpu=1, cap=30))) == [usual, other]
    assert schedules(await web.set_schedule(ask(vcpu=0, cap=30))) == [other, other]


async def test_vcpus_that_differ_each_keep_what_is_left_out(web):
    await web.set_schedule(ask(vcpu=0, affinity=affinity(0)))
    await web.set_schedule(ask(vcpu=1, cap=30))
    status = await web.set_schedule(ask(weight=512))
    assert schedules(status) == [
        core.Schedule(weight=512, affinity=[0]),
        core.Schedule(weight=512, cap=30),
    ]
    assert schedules(*await web.statuses()) == schedules(status)


async def test_if_one_is_refused_none_is_changed(web):
    await web.set_schedule(ask(vcpu=0, budget_ns=MS, period_ns=10 * MS))
    before = schedules(await web.set_schedule(ask(vcpu=1, budget_ns=MS, period_ns=5 * MS)))
    with pytest.raises(UserError, match=f"vCPU web/1: budget {9 * MS} ns: give "):
        await web.set_schedule(ask(budget_ns=9 * MS))
    assert schedules(*await web.statuses()) == before


async def test_two_operators_at_once_lose_nothing_of_each_other(web):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(web.set_schedule, ask(weight=512))
        nursery.start_soon(web.set_schedule, ask(cap=40))
        nursery.start_soon(web.set_schedule, ask(affinity=affinity(0)))
    said = core.Schedule(weight=512, cap=40, affinity=[0])
    assert schedules(*await web.statuses()) == [said, said]


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (ask(vcpu=2, cap=5), "^guest web has vCPUs 0 to 1$"),
        (ask(cap=101), "^vCPU web/0: cap 101: give percent"),
        (ask(weight=1 << 31), "^vCPU web/0: weight 2147483648: give 1 to 65535$"),
        (ask(affinity=affinity(1 << 31)), "there is no pCPU 2147483648"),
        (ask(period_ns=(1 << 64) - 1), "give a budget too"),
        (operator.SetScheduleRequest(guest="wbe"), "^no guest 'wbe', did you mean 'web'"),
    ],
    ids=["vcpu", "cap", "weight", "affinity", "period", "guest"],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(web, request_, line):
    before = schedules(*await web.statuses())
    with pytest.raises(UserError, match=line):
        await web.set_schedule(request_)
    assert schedules(*await web.statuses()) == before


async def test_a_guest_that_is_not_there_yet_is_no_wrong_name(keeper):
    with pytest.raises(UserError, match="guest web is starting or ending: ask again"):
        await keeper.set_schedule(ask(cap=5))
    with pytest.raises(UserError, match="guest web is starting or ending: ask again"):
        await keeper.set_balloon(core.BalloonRequest(guest="web", target=8 << 20))


async def test_a_guest_without_a_balloon_says_so(web):
    with pytest.raises(UserError, match="guest web has no balloon: start it with one"):
        await web.set_balloon(core.BalloonRequest(guest="web", target=2 << 20))
    with pytest.raises(UserError, match="no guest 'wbe', did you mean 'web'"):
        await web.set_balloon(core.BalloonRequest(guest="wbe", target=2 << 20))


class Restarting:
    """A guest that asks for a reset as soon as it runs, and its keeper."""

    def __init__(self, the_core, folder, stub=None):
        guest = Guest("again", folder / "none")
        self.config = the_core.config("again", "emulated")
        built = BuiltGuest(self.config, ((ENTRY, RESETS),), ())

        async def serving(guest):
            pass

        self.reports = []
        plan = Plan(Machine("lab", (guest,)), ((guest, built),))
        report = self.reports.append
        stub = stub or the_core.stub
        self.keeper = GuestKeeper(plan, stub, serving, lambda _: None, report)

    def told(self, kind):
        return [report for report in self.reports if isinstance(report, kind)]


@asynccontextmanager
async def followed(the_core, folder):
    """It, while its keeper follows the core."""
    restarting = Restarting(the_core, folder)
    with trio.fail_after(60):
        async with (
            rpc.stream(the_core.stub.WatchEvents, core.WatchRequest()) as messages,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(restarting.keeper.follow, messages)
            await restarting.keeper.start()
            yield restarting
            nursery.cancel_scope.cancel()
    if any(g.name == "again" for g in the_core.stub.ListGuests(core.ListRequest()).guests):
        the_core.call("Destroy", "again")


async def test_a_stop_is_not_undone_by_a_reset(the_core, tmp_path):
    async with followed(the_core, tmp_path) as restarting:
        while not restarting.told(events.GuestRestarted):
            await trio.lowlevel.checkpoint()
        await restarting.keeper.stop("again")


async def test_a_restart_that_is_refused_ends_this_guest_alone(the_core, tmp_path):
    async with followed(the_core, tmp_path) as restarting:
        restarting.config.vcpus = 0  # which no guest can have
        status = await restarting.keeper.wait("again")
        assert status.end_reason == core.END_RESET
        (told,) = restarting.told(events.GuestNotRestarted)
        assert "0 vCPUs" in told.why


async def test_so_does_one_whose_service_os_dies_each_time(the_core, tmp_path):
    async with followed(the_core, tmp_path) as restarting:
        restarting.config.devices.add(name="disk0", service="io", model="block")  # nobody is io
        restarting.config.devices[0].virtio.CopyFrom(core.VirtioMmio(base=0xD0000000, irq=5))
        status = await restarting.keeper.wait("again")
        assert status.end_reason == core.END_RESET
        (told,) = restarting.told(events.GuestNotRestarted)
        assert told.why.startswith("a service OS died 5 times in a row")


class LateAnswer:
    """The core's list of guests, which comes too late at first."""

    def __init__(self, method, late):
        self.method, self.late = method, late

    def future(self, request, timeout, **options):
        self.late -= 1
        return self.method.future(request, timeout=-1 if self.late >= 0 else timeout, **options)


class Unsure:
    """The core's stub but for that."""

    def __init__(self, stub, late):
        self.stub = stub
        self.ListGuests = LateAnswer(stub.ListGuests, late)

    def __getattr__(self, name):
        return getattr(self.stub, name)


async def test_an_end_that_the_core_does_not_tell_at_once_is_asked_for_again(the_core, tmp_path):
    guest = Guest("web", tmp_path / "none", on_reset=OnReset.STOP)
    built = BuiltGuest(the_core.config("web", "emulated"), ((ENTRY, RESETS),), ())

    async def serving(guest):
        pass

    plan = Plan(Machine("lab", (guest,)), ((guest, built),))
    stub = Unsure(the_core.stub, late=3)
    keeper = GuestKeeper(plan, stub, serving, lambda _: None, lambda _: None)
    with trio.fail_after(60):
        async with (
            rpc.stream(the_core.stub.WatchEvents, core.WatchRequest()) as messages,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(keeper.follow, messages)
            await keeper.start()
            assert (await keeper.wait("web")).end_reason == core.END_RESET
            assert stub.ListGuests.late < 0
            nursery.cancel_scope.cancel()
    the_core.call("Destroy", "web")


class Tapped:
    """A method of the core's stub whose calls are kept; the first one is told before it is made."""

    def __init__(self, method, tell=lambda: None):
        self.method, self.tell, self.calls = method, tell, []

    def future(self, request, **options):
        if not self.calls:
            self.tell()
        self.calls.append(self.method.future(request, **options))
        return self.calls[-1]


async def test_an_end_that_is_told_twice_restarts_a_guest_once(the_core, tmp_path):
    the_core.create("foreign", "emulated", RESETS)
    the_core.call("Start", "foreign")
    sender, receiver = trio.open_memory_channel(2)
    stub = Unsure(the_core.stub, late=0)
    again = core.Event(kind=core.EVENT_GUEST_ENDED, guest="again")
    restarting = Restarting(the_core, tmp_path, stub)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(restarting.keeper.follow, receiver)
            await restarting.keeper.start()
            while any(g.state != core.GUEST_ENDED for g in await restarting.keeper.statuses()):
                await trio.lowlevel.checkpoint()
            stub.ListGuests = looks = Tapped(
                the_core.stub.ListGuests, partial(sender.send_nowait, again)
            )
            stub.DestroyGuest = destroyed = Tapped(the_core.stub.DestroyGuest)
            await sender.send(core.Event(missed=1))
            while len(looks.calls) < 2 or not all(look.done() for look in looks.calls):
                await trio.lowlevel.checkpoint()
            while not restarting.told(events.GuestRestarted):
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert len(destroyed.calls) == 1
            nursery.cancel_scope.cancel()
    the_core.call("Destroy", "again")
    the_core.call("Destroy", "foreign")
