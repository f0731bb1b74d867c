"""Incarnations of a real service OS, with a core that only takes note of them."""

import os
import signal
import subprocess
import time
from pathlib import Path

import grpc
import pytest
import trio

from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Model, OutagePolicy, ServiceSettings, WhenOut
from splitvisor.supervisor import events, service
from splitvisor.supervisor.child import Stdio
from splitvisor.supervisor.failure import one_failure
from splitvisor.supervisor.run_directory import claim
from splitvisor.supervisor.service import ServiceKeeper
from splitvisor.supervisor.states import State

DEVICE = "web/disk0"
AFTER_MS = 1
OLD, NEW = "file:path=a.img", "file:path=b.img"


class Refused(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.INVALID_ARGUMENT

    def details(self):
        return "no"


class Core:
    """Notes what it is asked; whoever was connected before must be gone."""

    def __init__(self):
        self.connected = []
        self.stalled = 40_000  # ms, and so no load of the host excuses it
        self.prepared = []
        self.asked = []
        self.pids = []
        self.release_refused = self.retry_refused = self.prepare_refused = False
        self.swap_refused, self.answers = False, OLD  # the spec of the device, when asked
        self.attached = 0  # devices
        self.problem = ""  # of the device, from the second incarnation on
        self.keeper = None
        self.held = trio.Event()  # connects wait for it
        self.held.set()

    async def prepare(self, endpoint):
        self.prepared.append(endpoint)
        if self.prepare_refused:
            raise Refused
        return core.ConnectReply(attached=1)

    async def connect(self, endpoint):
        assert all(not os.path.exists(f"/proc/{pid}") for pid in self.pids)
        self.pids.append(self.keeper.status().pid)
        self.connected.append(endpoint)
        await self.held.wait()
        reply = core.ConnectReply(attached=self.attached)
        guest, device = DEVICE.split("/")
        if self.problem and len(self.connected) > 1:
            reply.problems.add(guest=guest, device=device, problem=self.problem)
        return reply

    async def retry(self, service, epoch, devices):
        self.asked.append(("retry", epoch, *devices))
        if self.retry_refused:
            self.retry_refused = False
            raise Refused
        reply = core.RetryReply(served=() if self.problem else devices)
        guest, device = DEVICE.split("/")
        if self.problem:
            reply.problems.add(guest=guest, device=device, problem=self.problem)
        return reply

    async def swap(self, service, device, spec, idle):
        self.asked.append(("swap", service, device, spec, idle))
        if self.swap_refused:
            raise Refused
        return 3_000_000

    async def spec(self, device):
        return self.answers

    async def release(self, service):
        self.asked.append(("release", service))
        if self.release_refused:
            raise Refused

    async def fail_unserved(self, service, device, reason):
        self.asked.append(("fail", device))
        return True

    async def pause(self, guest, why):
        self.asked.append(("pause", guest))

    async def resume(self, guest, why):
        self.asked.append(("resume", guest))

    async def stalled_ms(self, device):
        self.asked.append("stalled_ms")
        return self.stalled

    def pid(self):
        return 0  # it has no threads that could be kept from running


class Lab:
    """A keeper under way, its core, and what it told."""

    def __init__(self, folder, settings, *devices):
        self.directory = claim(folder / "r", "lab", ("service",))
        self.told_to, self.heard = trio.open_memory_channel(1000)
        self.core = Core()
        stdio = Stdio(subprocess.DEVNULL, subprocess.DEVNULL)
        guests = [Guest("web", folder / "none", devices=devices)]
        self.keeper = self.core.keeper = ServiceKeeper(
            "service", self.directory, stdio, self.core, self.hear, settings, guests=guests
        )

    def hear(self, event, now):
        self.told_to.send_nowait(event)

    async def until(self, kind):
        async for event in self.heard:
            if isinstance(event, kind):
                return event
        raise AssertionError("the events ended")

    async def until_asked(self, what):
        while what not in self.core.asked:
            await trio.sleep(0.001)

    def core_tells(self, kind, epoch, count=0, text=""):
        event = core.Event(kind=kind, epoch=epoch, count=count, text=text, service="service")
        event.guest, event.device = DEVICE.split("/")
        event.monotonic_ns = time.monotonic_ns()
        self.keeper.hear(event)


@pytest.fixture
async def lab(request, tmp_path, nursery):
    settings, *devices = getattr(request, "param", (ServiceSettings(),))
    lab = Lab(tmp_path, settings, *devices)
    nursery.start_soon(lab.keeper.keep)
    await lab.keeper.serving()
    yield lab
    await lab.keeper.end(trio.CancelScope())
    lab.directory.remove()
    nursery.cancel_scope.cancel()


def with_(*devices, **settings):
    return pytest.mark.parametrize("lab", [(ServiceSettings(**settings), *devices)], indirect=True)


def device(action):
    policy = OutagePolicy(action, AFTER_MS * 1_000_000)
    return Device("disk0", Model.BLOCK, "memory:size=1M", outage=policy)


cold = with_(standby=False)


@cold
async def test_after_a_kill_the_next_epoch_serves_on_new_sockets_with_a_new_token(lab):
    pid, epoch = lab.keeper.kill()
    assert epoch == 1
    died = await lab.until(events.ServiceDied)
    assert (died.pid, died.epoch, died.how, died.delay) == (pid, 1, "signal 9 (SIGKILL)", 0)
    recovered = await lab.until(events.ServiceRecovered)
    first, second = lab.core.connected
    assert (first.epoch, second.epoch) == (1, 2)
    for field in ("address", "grant_address", "token"):
        assert getattr(first, field) != getattr(second, field)
    assert not Path(first.address).exists()
    assert Path(second.address).exists()
    outage = recovered.outage
    assert outage.killed <= outage.detected <= outage.fenced <= outage.promoted <= outage.attached
    assert not outage.warm
    status = lab.keeper.status()
    assert (status.epoch, status.deaths, status.pid) == (2, 1, recovered.pid)
    assert (status.last_outage_ms, status.recoveries) == (outage.total_ms, 1)
    assert status.last_death == "signal 9 (SIGKILL)"
    assert status.state == operator.SERVICE_SERVING


async def test_a_standby_takes_over_and_another_one_comes(lab):
    standby = await lab.until(events.ServiceStandsBy)
    status = lab.keeper.status()
    assert status.standby.state == operator.STANDBY_READY
    assert (status.standby.pid, status.standby.epoch) == (standby.pid, 2)
    lab.keeper.kill()
    recovered = await lab.until(events.ServiceRecovered)
    assert (recovered.pid, recovered.epoch, recovered.outage.warm) == (standby.pid, 2, True)
    assert [endpoint.epoch for endpoint in lab.core.prepared] == [2]
    assert (await lab.until(events.ServiceStandsBy)).epoch == 3


async def test_active_and_standby_killed_together(lab):
    standby = await lab.until(events.ServiceStandsBy)
    os.kill(standby.pid, signal.SIGKILL)
    lab.keeper.kill()
    while (await lab.until(events.ServiceRecovered)).epoch != 3:
        pass  # the second was not dead yet when its turn came
    assert lab.keeper.status().state == operator.SERVICE_SERVING


async def test_a_kill_in_the_middle_of_a_promotion(lab):
    await lab.until(events.ServiceStandsBy)
    lab.core.held = trio.Event()
    lab.keeper.kill()
    await lab.until(events.ServicePromoted)
    lab.keeper.kill()
    assert (await lab.until(events.ServiceFailed)).epoch == 2
    lab.core.held.set()
    recovered = await lab.until(events.ServiceRecovered)
    assert recovered.epoch == 3


async def test_last_words_stand_together_before_the_death_they_belong_to(lab):
    standby = await lab.until(events.ServiceStandsBy)
    for epoch in (1, 2):
        with lab.directory.log(f"service.{epoch}").open("a") as log:
            log.write(f"Traceback:\n\n  of {epoch}\nError: {epoch}\n")
    os.kill(standby.pid, signal.SIGKILL)
    lab.keeper.kill()
    told, lines = [], []
    while len(lines) < 6 or not any(isinstance(event, events.ServiceDied) for event in told):
        told.append(await lab.until(object))
        lines = [event.line for event in told if isinstance(event, events.ServiceSaid)]
    words = {epoch: ["Traceback:", f"  of {epoch}", f"Error: {epoch}"] for epoch in (1, 2)}
    died = next(i for i, event in enumerate(told) if isinstance(event, events.ServiceDied))
    assert [getattr(event, "line", event) for event in told[died - 3 : died]] == words[1]
    assert lines in (words[1] + words[2], words[2] + words[1])
    assert not any(lab.directory.log(f"service.{epoch}").exists() for epoch in (1, 2))


@cold
async def test_one_that_is_stopped_is_as_good_as_dead(lab):
    os.kill(lab.keeper.status().pid, signal.SIGSTOP)
    suspected = await lab.until(events.ServiceSuspected)
    assert suspected.why == "stopped"
    assert (await lab.until(events.ServiceRecovered)).outage.cause == "stopped"


@with_(standby=False, watchdog=False)
async def test_without_a_watchdog_it_may_be_stopped(lab):
    pid = lab.keeper.status().pid
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    lab.core_tells(core.EVENT_DEVICE_STALLED, 1, 50)
    lab.core_tells(core.EVENT_DEVICE_STALLED, 1, 1000)
    os.kill(pid, signal.SIGCONT)
    os.waitid(os.P_PID, pid, os.WCONTINUED | os.WNOWAIT)
    assert lab.keeper.status().deaths == 0
    assert lab.keeper.status().state == operator.SERVICE_SERVING


async def test_a_standby_that_is_stopped_is_replaced(lab):
    standby = await lab.until(events.ServiceStandsBy)
    os.kill(standby.pid, signal.SIGSTOP)
    lost = await lab.until(events.ServiceStandbyLost)
    assert (lost.pid, lost.why) == (standby.pid, "stopped")
    assert (await lab.until(events.ServiceStandsBy)).epoch == 3
    assert lab.keeper.status().deaths == 0


async def test_why_there_is_no_standby_is_told_once_and_part_of_the_status(lab):
    lab.core.prepare_refused = True
    why = "cannot open its devices: no"
    lost = await lab.until(events.ServiceStandbyLost)
    assert (lost.epoch, lost.why) == (2, why)
    while len(lab.core.prepared) < 4:
        await trio.sleep(0.001)
    status = lab.keeper.status()
    assert (status.standby.state, status.standby.problem) == (operator.STANDBY_STARTING, why)
    lab.core.prepare_refused = False
    told = []
    while not told or not isinstance(told[-1], events.ServiceStandsBy):
        told.append(await lab.heard.receive())
    assert [type(event) for event in told] == [events.ServiceStarted, events.ServiceStandsBy]
    assert told[0].epoch == 3
    assert told[1].epoch > 4
    assert lab.keeper.status().standby.problem == ""
    assert not any(lab.directory.log(f"service.{epoch}").exists() for epoch in range(2, 5))


async def test_so_is_one_that_is_stopped_while_it_starts(lab):
    while not (pid := lab.keeper.status().standby.pid):
        await trio.sleep(0)
    os.kill(pid, signal.SIGSTOP)
    lost = await lab.until(events.ServiceStandbyLost)
    assert (lost.epoch, lost.why) == (2, "stopped")
    assert (await lab.until(events.ServiceStandsBy)).epoch == 3


@cold
async def test_a_stream_that_breaks_is_a_death(lab):
    lab.core_tells(core.EVENT_DEVICE_LOST, 1, text="it said nonsense")
    suspected = await lab.until(events.ServiceSuspected)
    assert suspected.why == f"{DEVICE} was lost: it said nonsense"
    assert (await lab.until(events.ServiceRecovered)).epoch == 2


async def tell_of_a_stall(lab):
    for ms in range(30, 30_000, 30):
        lab.core_tells(core.EVENT_DEVICE_STALLED, 1, ms)
        await trio.sleep(0.03)


@cold
async def test_one_that_completes_nothing_for_too_long_is_stuck(lab):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_of_a_stall, lab)
        suspected = await lab.until(events.ServiceSuspected)
        nursery.cancel_scope.cancel()
    assert suspected.why.startswith(f"{DEVICE}: nothing completed for 40000 ms (")


@cold
async def test_one_that_has_completed_something_when_the_core_looks_again_is_not(lab):
    lab.core.stalled = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_of_a_stall, lab)
        await lab.until_asked("stalled_ms")
        lab.core.stalled = 50_000
        suspected = await lab.until(events.ServiceSuspected)
        nursery.cancel_scope.cancel()
    assert suspected.why.startswith(f"{DEVICE}: nothing completed for 50000 ms (")


@cold
async def test_the_token_is_not_on_the_command_line(lab):
    (endpoint,) = lab.core.connected
    command = Path(f"/proc/{lab.keeper.status().pid}/cmdline").read_bytes()
    assert endpoint.token
    assert endpoint.token.encode() not in command


async def test_a_first_start_that_fails_is_one_line_for_the_user(tmp_path):
    lab = Lab(tmp_path, ServiceSettings())
    lab.directory.service_sockets("service", 1)[1].touch()  # where a socket belongs
    with (
        lab.directory,
        pytest.raises(UserError, match=r"^service OS service could not start \(exit status 2\): "),
        one_failure(),
    ):
        await lab.keeper.keep()


@cold
async def test_an_incarnation_that_cannot_start_is_followed_by_another(lab):
    lab.directory.service_sockets("service", 2)[1].touch()  # where a socket belongs
    lab.keeper.kill()
    failed = await lab.until(events.ServiceFailed)
    assert failed.epoch == 2
    assert (await lab.until(events.ServiceRecovered)).epoch == 3
    assert lab.keeper.status().deaths == 2


NOT_STARTED = "could not be started: Is a directory: {}"


@cold
async def test_one_that_the_host_does_not_let_start_is_followed_by_another(lab):
    log = lab.directory.log("service.2")
    log.mkdir()  # where a file belongs
    lab.keeper.kill()
    assert (await lab.until(events.ServiceFailed)).problem == NOT_STARTED.format(log)
    assert (await lab.until(events.ServiceDied)).epoch == 2
    recovered = await lab.until(events.ServiceRecovered)
    assert (recovered.epoch, lab.keeper.status().deaths) == (3, 2)


async def test_so_is_one_that_was_to_stand_by(lab):
    await lab.until(events.ServiceStandsBy)
    log = lab.directory.log("service.3")
    log.mkdir()  # where a file belongs
    lab.keeper.kill()
    lost = await lab.until(events.ServiceStandbyLost)
    assert (lost.epoch, lost.why) == (3, NOT_STARTED.format(log))
    assert (await lab.until(events.ServiceStandsBy)).epoch == 4
    assert lab.keeper.status().deaths == 1


async def test_at_the_very_first_start_that_is_one_line_for_the_user(tmp_path):
    lab = Lab(tmp_path, ServiceSettings())
    lab.directory.log("service.1").mkdir()
    why = f"service OS service {NOT_STARTED.format(lab.directory.log('service.1'))}"
    with lab.directory, pytest.raises(UserError, match=f"^{why}$"), one_failure():
        await lab.keeper.keep()


async def test_it_ends_in_order(lab):
    await lab.until(events.ServiceStandsBy)
    await lab.keeper.end(trio.CancelScope())
    assert lab.keeper.status().state == operator.SERVICE_DEAD
    assert not list(lab.directory.path.glob("*.io"))


async def test_an_upgrade_moves_all_to_a_fresh_incarnation(lab):
    old = await lab.until(events.ServiceStandsBy)
    reply = await lab.keeper.upgrade()
    assert reply.epoch == 3
    assert reply.pid == lab.keeper.status().pid != old.pid
    assert lab.core.asked == [("release", "service")]
    assert (await lab.until(events.ServiceRecovered)).outage.planned
    status = lab.keeper.status()
    assert (status.deaths, status.upgrades, status.recoveries) == (0, 1, 0)


async def test_a_second_upgrade_at_once_is_refused_and_not_the_first(lab):
    await lab.until(events.ServiceStandsBy)
    replies = []

    async def first():
        replies.append(await lab.keeper.upgrade())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await lab.until(events.UpgradeBegun)
        with pytest.raises(UserError, match="not upgraded: another upgrade is under way"):
            await lab.keeper.upgrade()
    assert [reply.epoch for reply in replies] == [3]


@cold
async def test_an_upgrade_that_fails_leaves_the_old_one_serving(lab):
    lab.core.release_refused = True
    with pytest.raises(UserError, match="service OS service is not upgraded: it does not finish"):
        await lab.keeper.upgrade()
    assert lab.keeper.status().epoch == 1
    assert lab.keeper.status().state == operator.SERVICE_SERVING


@cold
async def test_a_driver_is_swapped_by_the_core(lab):
    told = await lab.keeper.swap(DEVICE, OLD, NEW, True)
    assert lab.core.asked == [("swap", "service", DEVICE, NEW, True)]
    pid = lab.keeper.status().pid
    assert told == events.DriverSwapped("service", pid, 1, DEVICE, OLD, NEW, 3_000_000)
    assert await lab.until(events.DriverSwapped) == told


@cold
async def test_a_swap_that_is_refused_is_told_with_the_reason(lab):
    lab.core.swap_refused = True
    with pytest.raises(UserError, match="device web/disk0 keeps its driver: no"):
        await lab.keeper.swap(DEVICE, OLD, NEW, False)
    assert await lab.until(events.DriverSwapFailed) == events.DriverSwapFailed(
        "service", DEVICE, "no"
    )


@cold
async def test_a_swap_was_done_if_the_core_says_so_whatever_became_of_its_answer(lab):
    lab.core.swap_refused, lab.core.answers = True, NEW
    told = await lab.keeper.swap(DEVICE, OLD, NEW, False)
    assert (told.new, await lab.until(events.DriverSwapped)) == (NEW, told)
    with pytest.raises(UserError, match="keeps its driver: no"):  # there is no telling
        await lab.keeper.swap(DEVICE, NEW, NEW, False)


@cold
async def test_no_driver_is_swapped_during_a_recovery(lab):
    lab.core.held = trio.Event()
    lab.keeper.kill()
    await lab.until(events.ServiceDied)
    with pytest.raises(UserError, match=r"service OS service is .*ing: ask again in a moment"):
        await lab.keeper.swap(DEVICE, OLD, NEW, False)
    assert lab.core.asked == []
    lab.core.held.set()


@with_(device(WhenOut.ERROR), standby=False)
async def test_a_device_fails_when_the_outage_is_too_long(lab):
    lab.core.held = trio.Event()
    lab.keeper.kill()
    await lab.until_asked(("fail", DEVICE))
    acted = await lab.until(events.OutagePolicyActed)
    assert (acted.device, acted.what) == (DEVICE, "its requests fail: nobody has served it for 1ms")
    lab.core.held.set()
    await lab.until(events.ServiceRecovered)


@with_(device(WhenOut.PAUSE), standby=False)
async def test_a_guest_is_paused_while_the_outage_is_too_long(lab):
    lab.keeper.kill()
    await lab.until_asked(("resume", "web"))
    assert lab.core.asked == [("pause", "web"), ("resume", "web")]


async def until_tried(lab, times):
    while sum(asked[0] == "retry" for asked in lab.core.asked) < times:
        await trio.sleep(0.001)


@cold
async def test_no_driver_is_waited_for_that_may_wait_for_the_world_outside(lab, monkeypatch):
    monkeypatch.setattr(service, "WORLD_S", 0)
    lab.core.attached = 1
    lab.keeper.kill()
    while (await lab.until(events.ServiceAttached)).epoch != 2:
        pass
    lab.core_tells(core.EVENT_DEVICE_ATTACHED, 2, count=0)
    await trio.testing.wait_all_tasks_blocked()
    assert lab.keeper.machine.state is State.REPLAYING
    lab.core_tells(core.EVENT_DEVICE_ATTACHED, 2, count=1)
    await lab.until(events.ServiceRecovered)


@cold
async def test_a_device_that_cannot_be_attached_is_tried_until_it_can(lab):
    lab.core.problem, lab.core.retry_refused = "no such file", True
    lab.keeper.kill()
    unserved = await lab.until(events.DeviceUnserved)
    assert (unserved.device, unserved.why) == (DEVICE, "no such file")
    await lab.until(events.ServiceRecovered)
    await until_tried(lab, 2)  # the first is refused as a whole
    assert lab.keeper.serves(DEVICE) is None
    (told,) = lab.keeper.status().unserved
    assert (told.device, told.reason) == (DEVICE, "no such file")
    assert told.for_s > 0
    lab.core.problem = ""
    served = await lab.until(events.DeviceServed)
    assert (served.device, lab.core.asked[-1]) == (DEVICE, ("retry", 2, DEVICE))
    assert not lab.keeper.status().unserved
    assert lab.keeper.serves(DEVICE) == 2
    assert lab.keeper.status().epoch == 2


@with_(device(WhenOut.ERROR), standby=False)
async def test_it_fails_though_others_are_served(lab):
    lab.core.problem = "no such file"
    lab.keeper.kill()
    await lab.until(events.ServiceRecovered)
    while lab.core.asked.count(("fail", DEVICE)) < 2:  # in the outage, and after it
        await trio.sleep(0.001)
    assert lab.keeper.status().state == operator.SERVICE_SERVING


@with_(device(WhenOut.ERROR), standby=False)
async def test_it_is_told_once_in_an_absence_that_it_fails(lab):
    async def times_told():
        times = 0
        async for event in lab.heard:
            times += isinstance(event, events.OutagePolicyActed)
            if isinstance(event, events.DeviceServed):
                return times
        raise AssertionError("the events ended")

    for absence in (1, 2):
        lab.core.asked.clear()
        lab.core.problem = "no such file"
        lab.keeper.kill()
        while lab.core.asked.count(("fail", DEVICE)) < 2:
            await trio.sleep(0.001)
        lab.core.problem = ""
        assert await times_told() == 1, f"absence {absence}"


@with_(device(WhenOut.PAUSE), standby=False)
async def test_its_guest_is_paused_until_it_is_served_again(lab):
    lab.core.problem = "no such file"
    lab.keeper.kill()
    await lab.until(events.ServiceRecovered)
    await until_tried(lab, 2)
    assert ("pause", "web") in lab.core.asked
    assert ("resume", "web") not in lab.core.asked
    lab.core.problem = ""
    await lab.until_asked(("resume", "web"))


def request(action, **fields):
    return operator.FaultRequest(fault=faults.Fault(action=action, **fields))


@cold
async def test_where_no_standby_is_wanted_none_is_to_be_waited_for(lab):
    with pytest.raises(UserError, match="no standby now: its standby is switched off"):
        lab.keeper.incarnation(standby=True)


@cold
async def test_kill_and_stop_are_signals_and_need_no_failpoints(lab):
    reply = await lab.keeper.faults.inject(request(faults.STOP))
    assert (reply.epoch, reply.id) == (1, 0)
    assert (await lab.until(events.FaultInjected)).what == "stop"
    assert (await lab.until(events.ServiceRecovered)).outage.killed


@cold
async def test_other_faults_need_failpoints(lab):
    with pytest.raises(UserError, match=r"no failpoints: .*\[services.service\]"):
        await lab.keeper.faults.inject(request(faults.EXIT))


@with_(standby=False, failpoints=True)
async def test_faults_are_armed_listed_and_cleared(lab):
    fault = {"point": faults.OPENED, "device": "disk0", "every_incarnation": True}
    reply = await lab.keeper.faults.inject(request(faults.KILL, **fault))
    assert reply.id
    assert [armed.fault.device for armed in await lab.keeper.faults.armed()] == ["disk0"]
    lab.keeper.kill()
    await lab.until(events.ServiceRecovered)
    assert [armed.fault.device for armed in await lab.keeper.faults.armed()] == ["disk0"]
    assert await lab.keeper.faults.clear() == 1
    lab.keeper.kill()
    await lab.until(events.ServiceRecovered)
    assert await lab.keeper.faults.armed() == []


@with_(failpoints=True)
async def test_a_fault_of_every_incarnation_counts_once(lab):
    await lab.until(events.ServiceStandsBy)
    await lab.keeper.faults.inject(request(faults.KILL, point=faults.OPENED))
    await lab.keeper.faults.inject(
        request(faults.KILL, point=faults.OPENED, every_incarnation=True)
    )
    assert await lab.keeper.faults.clear() == 2
    assert await lab.keeper.faults.clear() == 0


@with_(standby=False, failpoints=True)
async def test_a_fault_of_every_incarnation_counts_before_the_next_one_has_it(lab):
    await lab.keeper.faults.inject(
        request(faults.KILL, point=faults.OPENED, every_incarnation=True)
    )
    lab.keeper.kill()
    await lab.until(events.ServiceDied)
    assert await lab.keeper.faults.clear() == 1


@with_(failpoints=True)
async def test_a_fault_of_every_incarnation_is_in_one_that_takes_over_meanwhile(lab):
    await lab.until(events.ServiceStandsBy)
    fault = request(faults.KILL, point=faults.OPENED, every_incarnation=True)
    lab.keeper.kill()  # which nobody has noticed yet
    assert (await lab.keeper.faults.inject(fault)).epoch == 1
    await lab.until(events.ServiceRecovered)
    assert len(await lab.keeper.faults.armed()) == 1
    assert await lab.keeper.faults.clear() == 1


@with_(failpoints=True)
async def test_what_is_refused_is_in_no_later_one(lab):
    await lab.until(events.ServiceStandsBy)
    with pytest.raises(UserError):
        await lab.keeper.faults.inject(request(faults.SLOW, every_incarnation=True))
    assert await lab.keeper.faults.clear() == 0
    lab.keeper.kill()
    await lab.until(events.ServiceRecovered)
    assert await lab.keeper.faults.armed() == []


@with_(standby=False, failpoints=True)
async def test_a_fault_that_acts_at_once_is_a_death_like_any_other(lab):
    await lab.keeper.faults.inject(request(faults.EXIT))
    assert (await lab.until(events.ServiceDied)).how == "exit status 1"
