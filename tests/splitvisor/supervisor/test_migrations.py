"""The steps of a migration, whatever fails; drivers are words here, files and locks are real."""

from pathlib import Path

import pytest
import trio
import trio.testing

from drivers import registry
from drivers.interface import DriverError
from protos import operator_pb2 as operator
from protos.io_pb2 import ProgressReply
from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor import events
from splitvisor.supervisor.locks import Locks
from splitvisor.supervisor.migrations import AWAY, LOOK, PIVOTS, RETURNS, Migrations, Plan
from splitvisor.supervisor.swaps import Swaps
from tests.splitvisor.supervisor.test_swaps import Guests, is_free

DISK = "web/disk0"


@pytest.fixture
def folder(tmp_path):
    for name in ("a.img", "b.img"):
        (tmp_path / name).write_bytes(bytes(512))
    return tmp_path


@pytest.fixture
def machine(folder):
    devices = (
        Device("disk0", Model.BLOCK, f"file:path={folder}/a.img"),
        Device("hvc0", Model.CONSOLE, "null"),
    )
    return Machine("lab", (Guest("web", Path("a.elf"), devices=devices, balloon=True),))


class Service:
    """A service OS whose drivers report what the test says, and swap unless they are told."""

    def __init__(self, folder):
        self.short = {
            f"file:path={folder}/a.img": "old",
            f"file:path={folder}/b.img": "new",
            f"pivot:child=(file:path={folder}/b.img)": "pivot",
        }
        self.steps = []
        self.refuses = {}  # how often, by step
        self.report = ProgressReply(total=512)
        self.away = False

    async def swap(self, device, old, new, idle):
        assert (device, idle) == (DISK, False)
        await trio.lowlevel.checkpoint()
        step = self.short.get(new, new.partition(":")[0])
        self.steps.append(step)
        if self.refuses.get(step, 0):
            self.refuses[step] -= 1
            raise UserError(f"{step} cannot be")
        return events.DriverSwapped("service", 7, 2, device, old, new, 3_000_000)

    async def progress(self, device):
        assert device == DISK
        if self.away:
            raise UserError("it is recovering")
        return self.report

    def finish(self):
        self.report = ProgressReply(done=512, total=512, complete=True)


class Lab:
    """Migrations of a machine, and what they tell."""

    def __init__(self, machine, folder, locks):
        self.service = Service(folder)
        self.folder = folder
        self.told = []
        self.swaps = Swaps(machine, {"service": self.service}, Guests(), locks)
        self.migrations = Migrations(
            self.swaps, {"service": self.service}, lambda event, _: self.told.append(event)
        )

    async def begin(self, spec="file:path=b.img", **more):
        request = operator.MigrateRequest(device=DISK, spec=spec, root=str(self.folder), **more)
        return await self.migrations.begin(request)

    async def ended(self):
        while self.migrations.under_way("service"):
            await trio.sleep(LOOK)
        return self.migrations.last(DISK)

    @property
    def spec(self):
        return self.swaps.machine.guests[0].devices[0].spec


@pytest.fixture
async def lab(machine, folder, nursery, autojump_clock):
    with Locks() as locks:
        locks.take(machine)
        lab = Lab(machine, folder, locks)
        nursery.start_soon(lab.migrations.keep)
        await trio.testing.wait_all_tasks_blocked()
        yield lab


async def test_a_disk_moves_in_three_swaps_and_both_files_are_locked_meanwhile(lab, folder):
    begun = await lab.begin()
    assert (begun.old, begun.new) == (f"file:path={folder}/a.img", f"file:path={folder}/b.img")
    through = f"migrate:source=(file:path={folder}/a.img),target=(file:path={folder}/b.img)"
    assert lab.spec == through
    assert (is_free(folder / "a.img"), is_free(folder / "b.img")) == (False, False)
    lab.service.report = ProgressReply(done=256, total=512)
    await trio.sleep(2 * LOOK)
    (moving,) = lab.migrations.under_way("service")
    assert (moving.done, moving.total, moving.state) == (256, 512, operator.MIGRATION_COPYING)
    assert lab.migrations.under_way("other") == []
    lab.service.finish()
    done = await lab.ended()
    assert (done.state, done.problem, done.pause_ms) == (operator.MIGRATION_DONE, "", 3)
    assert lab.service.steps == ["migrate", "pivot", "new"]
    assert lab.spec == f"file:path={folder}/b.img"
    assert (is_free(folder / "a.img"), is_free(folder / "b.img")) == (True, False)
    assert [type(event) for event in lab.told] == [events.DiskMigrating, events.DiskMigrated]
    assert lab.swaps.moving == set()


async def test_a_rate_goes_to_the_driver(lab):
    await lab.begin(rate=1 << 20)
    assert lab.spec.endswith(",rate=1048576")


@pytest.mark.parametrize("step", ["pivot", "new"])
async def test_a_swap_that_fails_is_tried_again(lab, step):
    lab.service.refuses[step] = PIVOTS - 1
    lab.service.finish()
    await lab.begin()
    assert (await lab.ended()).state == operator.MIGRATION_DONE
    assert lab.service.steps.count(step) == PIVOTS


async def test_a_pivot_that_never_succeeds_leaves_the_old(lab, folder):
    lab.service.refuses["pivot"] = PIVOTS
    lab.service.finish()
    await lab.begin()
    failed = await lab.ended()
    assert (failed.state, failed.problem) == (operator.MIGRATION_FAILED, "pivot cannot be")
    assert lab.service.steps == ["migrate", *["pivot"] * PIVOTS, "old"]
    assert lab.spec == f"file:path={folder}/a.img"
    assert (is_free(folder / "a.img"), is_free(folder / "b.img")) == (False, True)


async def test_the_last_step_that_never_succeeds_says_what_is_left_to_do(lab, folder):
    lab.service.refuses["new"] = RETURNS
    lab.service.finish()
    await lab.begin()
    failed = await lab.ended()
    assert failed.state == operator.MIGRATION_FAILED
    assert "served from there, but: new cannot be; 'splitvisor driver swap web/disk0'" in (
        failed.problem
    )
    assert lab.spec == f"pivot:child=(file:path={folder}/b.img)"
    cure = f"'splitvisor driver swap web/disk0 file:path={folder}/b.img' first"
    with pytest.raises(UserError, match=f"is not done with its last copy: {cure}"):
        await lab.begin()


async def test_a_driver_that_is_being_installed_anew_is_waited_for(lab, folder, monkeypatch):
    await lab.begin()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "claims", gone)
        lab.service.finish()
        await trio.sleep(PIVOTS // 2 * LOOK)
        (moving,) = lab.migrations.under_way("service")
        assert moving.state != operator.MIGRATION_FAILED
    assert (is_free(folder / "a.img"), is_free(folder / "b.img")) == (False, False)
    assert (await lab.ended()).state == operator.MIGRATION_DONE


async def test_one_that_stays_away_is_no_end_of_the_machine(lab, monkeypatch):
    await lab.begin()
    monkeypatch.setattr(registry, "claims", gone)
    lab.service.finish()
    failed = await lab.ended()
    assert (failed.state, failed.problem[:9]) == (operator.MIGRATION_FAILED, "no driver")
    with pytest.raises(UserError, match="no driver"):
        await lab.begin()


def gone(*_):
    raise DriverError("no driver 'x': it is not installed any more")


async def test_a_problem_of_the_copy_leaves_the_old_and_is_told(lab, folder):
    lab.service.report = ProgressReply(done=5, total=512, problem="target: no space")
    await lab.begin()
    failed = await lab.ended()
    assert (failed.state, failed.problem) == (operator.MIGRATION_FAILED, "target: no space")
    assert lab.told[-1] == events.DiskMigrationFailed("service", DISK, "target: no space")
    assert lab.spec == f"file:path={folder}/a.img"


async def test_an_old_driver_that_does_not_come_back_is_told(lab):
    lab.service.report = ProgressReply(problem="x")
    lab.service.refuses["old"] = RETURNS
    await lab.begin()
    failed = await lab.ended()
    assert failed.problem.startswith("x; it is served by migrate:source=")
    assert failed.problem.endswith(" still, for: old cannot be")


async def test_an_abort_comes_back_when_the_old_one_serves(lab, folder):
    lab.service.refuses["old"] = 2
    await lab.begin()
    aborted = await lab.migrations.abort(DISK)
    assert (aborted.state, aborted.problem) == (operator.MIGRATION_ABORTED, "")
    assert lab.service.steps == ["migrate", "old", "old", "old"]
    assert lab.spec == f"file:path={folder}/a.img"
    with pytest.raises(UserError, match="that has ended"):
        await lab.migrations.abort(DISK)


async def test_an_outage_takes_as_long_as_it_takes(lab):
    lab.service.away = True
    await lab.begin()
    await trio.sleep(10 * AWAY)
    assert lab.migrations.under_way("service")
    lab.service.away = False
    lab.service.finish()
    assert (await lab.ended()).state == operator.MIGRATION_DONE


async def test_a_disk_that_is_not_served_goes_back(lab):
    lab.service.report = None
    await lab.begin()
    await trio.sleep(AWAY / 2)
    assert lab.migrations.under_way("service")
    failed = await lab.ended()
    assert (failed.state, failed.problem) == (operator.MIGRATION_FAILED, "the disk is not served")
    assert lab.service.steps == ["migrate", "old"]


async def test_meanwhile_there_is_no_other_swap_and_no_other_copy(lab):
    await lab.begin()
    with pytest.raises(UserError, match="is being copied already"):
        await lab.begin()
    request = operator.SwapDriverRequest(device=DISK, spec="null:size=1M")
    with pytest.raises(UserError, match="is being copied: wait, or end that with 'splitvisor dr"):
        await lab.swaps.swap(request)
    lab.service.finish()
    await lab.ended()
    assert lab.service.steps == ["migrate", "pivot", "new"]


async def test_one_that_cannot_begin_was_none(lab, folder):
    lab.service.refuses["migrate"] = 1
    with pytest.raises(UserError, match="migrate cannot be"):
        await lab.begin()
    for ask in (lab.migrations.last, lab.migrations.abort):
        with pytest.raises(UserError, match="is not being copied"):
            await ask(DISK) if ask == lab.migrations.abort else ask(DISK)
    assert (is_free(folder / "b.img"), lab.told, lab.swaps.moving) == (True, [], set())
    lab.service.finish()
    await lab.begin()
    assert (await lab.ended()).state == operator.MIGRATION_DONE


@pytest.mark.parametrize(
    ("device", "spec", "problem"),
    [
        (DISK, "file:path=a.img", "a.img serves the same: swap the driver without a copy"),
        (DISK, "fil:path=b.img", "web/disk0: no block driver 'fil', did you mean 'file'"),
        (DISK, "throttle:iops=1,child=(file:path=a.img)", "serves the same"),
        (
            DISK,
            "mirror:children=((file:path=b.img),(file:path=a.img)),state=s",
            "a.img is used twice by web/disk0",
        ),
        ("web/hvc0", "null", "web/hvc0 has no content to copy: swap its driver"),
        ("web/disk9", "null:size=1M", "no device 'web/disk9'"),
        ("web/balloon0", "null", "is served by the core itself"),
    ],
)
def test_what_can_be_known_to_be_wrong_is_said_in_one_line(machine, folder, device, spec, problem):
    with pytest.raises(UserError) as raised:
        Plan(machine, operator.MigrateRequest(device=device, spec=spec, root=str(folder)))
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)
