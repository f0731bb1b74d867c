"""Real machines that are disturbed where a planted bug would bite, and judged as campaigns are.

A scenario says what is wrong, or nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from splitvisor.chaos.judgement import Remains, judge
from splitvisor.chaos.plan import Disk
from splitvisor.testing.description import com1_log, console_log
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.machine import Machine
from splitvisor.testing.testbed import Testbed

MIB = 2
OFTEN = "depth=32 seed=5 uart=1 flush=64 lines=32 entropy=32"
FOR_EVER = "seconds=1000000"
SOON = 5.0  # seconds for what takes a tenth of one on a quiet machine
LENT = Path(__file__).parent / "lent"
Scenario = Callable[[Path], str]


@contextmanager
def storm(folder: Path, disk: str, length: str, driver: str = "") -> Iterator[Machine]:
    """A machine under a verified load; `driver` is a class in lent/ that serves its disk."""
    with (folder / "disk.img").open("wb") as image:
        image.truncate(MIB << 20)
    with Testbed(folder) as bed:
        if driver:
            bed.lend(LENT, {f"block.{disk}": driver})
        yield bed.start(
            "storm", [f"{disk}:path=disk.img"], f"{OFTEN} {length}", com1=True, failpoints=True
        )


def problems(folder: Path, disk: Disk, ended: bool, cut: int | None = None) -> str:
    """What the judges say of what is left."""
    remains = Remains(
        *("storm", folder / console_log("storm"), folder / com1_log("storm")),
        *(folder / "disk.img", disk, ended, cut),
    )
    return "\n".join(judge(remains)[1])


def killed(folder: Path) -> str:
    """Killed between what is done and what is said of it, on disk and consoles."""
    try:
        with storm(folder, "file", "seconds=0 ops=60000") as machine:
            for point, device, nth in (
                ("mid-batch", "disk0", 100),
                ("before-reply", "hvc0", 5),
                ("after-reply", "hvc0", 5),
            ):
                machine.fault("kill", at=point, device=device, nth=nth)
                machine.wait_for("recovered", SOON)
            machine.guest().wait()
    except MachineFailure as failure:
        return problems(folder, Disk.FILE, ended=False) or str(failure)
    return problems(folder, Disk.FILE, ended=True)


def power_cut(folder: Path) -> str:
    """Killed with a standby there, then all power is lost."""
    try:
        with storm(folder, "powercut", FOR_EVER) as machine:
            machine.wait_for_standby()
            machine.wait_for_requests(1000, seconds=SOON)
            machine.fault("kill", at="mid-batch", device="disk0")
            machine.wait_for("recovered", SOON)
            machine.wait_for_requests(1000, seconds=SOON)
            machine.cut_power()
    except MachineFailure as failure:
        return problems(folder, Disk.POWERCUT, ended=False) or str(failure)
    return problems(folder, Disk.POWERCUT, ended=False, cut=5)


def hung(folder: Path) -> str:
    """The disk's thread waits for ever while everything else goes on."""
    try:
        with storm(folder, "file", FOR_EVER) as machine:
            try:
                machine.fault("hang", device="disk0", nth=100)
                machine.wait_for("recovered", SOON)
                machine.wait_for_requests(100, seconds=SOON)
            finally:
                machine.cut_power()  # who hangs does not end when it is asked to
    except MachineFailure as failure:
        return str(failure)
    return problems(folder, Disk.FILE, ended=False)


def helped(folder: Path) -> str:
    """A driver has a helper write, and dies before it has."""
    try:
        with storm(folder, "helped", "seconds=0 ops=40000", "helped:Helped") as machine:
            machine.wait_for("recovered", SOON)
            machine.guest().wait()
    except MachineFailure as failure:
        return problems(folder, Disk.FILE, ended=False) or str(failure)
    return problems(folder, Disk.FILE, ended=True)


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario for scenario in (killed, power_cut, hung, helped)
}
