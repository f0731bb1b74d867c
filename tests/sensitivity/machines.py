"""Real machines that are disturbed where a planted bug would bite, and judged as campaigns are.

A scenario says what is wrong, or nothing. It ends as a loss of power would, as soon as enough was
seen; whether all is well when guests come to their own end is what campaigns look at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from protos import core_pb2 as core
from splitvisor.chaos.judgement import Remains, judge
from splitvisor.chaos.plan import Disk
from splitvisor.testing.description import com1_log, console_log
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.machine import Machine
from splitvisor.testing.testbed import Testbed

MIB = 2
LOAD = "seconds=1000000 depth=32 seed=5 uart=1 flush=1024 lines=32 entropy=32"
CUT = 5  # seed of what becomes of what was not flushed
SOON = 10.0  # seconds for what takes a tenth of one on a quiet machine, or one
LENT = Path(__file__).parent / "lent"
Disturb = Callable[[Machine], None]


def killed(machine: Machine) -> None:
    """Killed between what is done and what is said of it, on disk and console."""
    for point, device, nth in (
        ("mid-batch", "disk0", 100),
        ("before-reply", "hvc0", 5),
        ("after-reply", "hvc0", 5),
    ):
        machine.fault("kill", at=point, device=device, nth=nth)
        recover(machine)
    serve(machine, 3_000)


def power_cut(machine: Machine) -> None:
    """Killed with a standby there that was opened long before, and later all power is lost."""
    for _ in range(2):
        machine.wait_for_standby()
        serve(machine, 1_000)
        machine.fault("kill", at="mid-batch", device="disk0", nth=20)
        recover(machine)
        serve(machine, 3_000)


def hung(machine: Machine) -> None:
    """The disk's thread waits for ever while everything else goes on."""
    machine.fault("hang", device="disk0", nth=100)
    recover(machine, seconds=5)
    serve(machine, 100)


def helped(machine: Machine) -> None:
    """A driver has a helper write, and dies before it has."""
    machine.wait_for_standby()
    (machine.folder / "go").touch()
    recover(machine)
    serve(machine, 30_000)


# By name: what is done, and the disk with the driver that is lent for it, if any.
SCENARIOS: dict[str, tuple[Disturb, str, str]] = {
    "killed": (killed, "file", ""),
    "power_cut": (power_cut, "powercut", ""),
    "hung": (hung, "file", ""),
    "helped": (helped, "helped", "helped:Helped"),
}


def play(scenario: str, folder: Path) -> str:
    """What is wrong with a machine after a scenario; nothing if nothing is."""
    disturb, disk, driver = SCENARIOS[scenario]
    failure = ""
    with _storm(folder, disk, driver) as machine:
        try:
            disturb(machine)
        except MachineFailure as failed:
            failure = str(failed)
        machine.cut_power()
    kind = Disk.POWERCUT if disk == "powercut" else Disk.FILE
    remains = Remains(
        *("storm", folder / console_log("storm"), folder / com1_log("storm")),
        *(folder / "disk.img", kind, False, CUT if kind is Disk.POWERCUT else None),
    )
    return "\n".join(judge(remains)[1]) or failure


def recover(machine: Machine, seconds: float = SOON) -> None:
    """Until another service OS serves."""
    _until(machine, "a recovery", lambda: machine.story.take("recovered") is not None, seconds)


def serve(machine: Machine, count: int) -> None:
    """Until so many more requests are served."""
    wanted = machine.device("disk0").completions + count
    _until(machine, f"{count} requests", lambda: machine.device("disk0").completions >= wanted)


def _until(machine: Machine, what: str, there: Callable[[], bool], seconds: float = SOON) -> None:
    """At most so long as the guest runs, which ends when it finds something wrong."""
    guest = machine.guest()

    def look() -> bool | None:
        if guest.status().state == core.GUEST_ENDED:
            raise MachineFailure(f"the guest has ended before {what}")
        return there() or None

    machine.wait_until(what, look, seconds)


@contextmanager
def _storm(folder: Path, disk: str, driver: str) -> Iterator[Machine]:
    with (folder / "disk.img").open("wb") as image:
        image.truncate(MIB << 20)
    with Testbed(folder) as bed:
        if driver:
            bed.lend(LENT, {f"block.{disk}": driver})
        yield bed.start("storm", [f"{disk}:path=disk.img"], LOAD, com1=True, failpoints=True)
