"""The demo's machine: blockcheck on a disk image, echo and hello beside it, one service OS."""

from dataclasses import dataclass
from pathlib import Path

import splitvisor
from drivers.spec import Spec
from splitvisor.checks.stamps import BLOCK, MAGIC
from splitvisor.errors import UserError
from splitvisor.machine import (
    DEFAULT_SERVICE,
    CpuChoice,
    Device,
    Guest,
    Machine,
    Model,
    ServiceSettings,
)
from splitvisor.units import format_size

DEPTH = 32
SEED = 20
SMALLEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Scene:
    """What is shown: the machine, the image that blockcheck works on, and how often."""

    machine: Machine
    image: Path
    blocks: int
    passes: int
    verdict_log: Path

    @property
    def requests(self) -> int:
        """How many requests blockcheck will make.

        The first pass writes and reads each block, later ones also read one with each write;
        each pass ends its writes with a flush.
        """
        return self.blocks * (3 * self.passes - 1) + self.passes


def set_up(
    guests: Path | None, image: Path, size: int, passes: int, cpu: CpuChoice, logs: Path
) -> Scene:
    """Make the disk image of `size` bytes and describe the machine; UserError if that cannot be."""
    folder = guests or Path(splitvisor.__file__).parent.parent / "build" / "guests"
    if size % BLOCK or size < SMALLEST:
        raise UserError(f"size {size}: give a multiple of 4K, at least {format_size(SMALLEST)}")
    names = ("blockcheck", "echo", "hello")
    for name in names:
        if not (folder / name).exists():
            raise UserError(
                f"guest image {folder / name} does not exist: build it with 'make guests', or "
                "name the directory of the guests with --guests"
            )
    make_image(image, size)
    verdict_log = logs / "blockcheck.log"
    entropy = Device("rng0", Model.ENTROPY, "system")
    disk = Device("disk0", Model.BLOCK, str(Spec("file", {"path": str(image)})))
    arguments = f"depth={DEPTH} passes={passes} seed={SEED}"
    machine = Machine(
        "demo",
        (
            Guest(
                "blockcheck",
                folder / "blockcheck",
                arguments,
                cpu=cpu,
                devices=(_log_console(verdict_log), disk),
            ),
            Guest(
                "echo",
                folder / "echo",
                cpu=cpu,
                devices=(Device("hvc0", Model.CONSOLE, "terminal"),),
            ),
            Guest(
                "hello",
                folder / "hello",
                cpu=cpu,
                devices=(_log_console(logs / "hello.log"), entropy),
            ),
        ),
        settings={DEFAULT_SERVICE: ServiceSettings(failpoints=True)},
    )
    return Scene(machine, image, size // BLOCK, passes, verdict_log)


def make_image(path: Path, size: int) -> None:
    """A fresh image; what is there is only overwritten if an earlier demo wrote it."""
    try:
        if path.exists():
            with path.open("rb") as image:
                if image.read(len(MAGIC)) != MAGIC:
                    raise UserError(
                        f"disk {path} exists and the demo would overwrite it: name another"
                    )
        with path.open("wb") as image:
            image.truncate(size)
    except OSError as error:
        raise UserError(f"disk {path} cannot be made: {error.strerror}; name another") from None


def _log_console(path: Path) -> Device:
    return Device("hvc0", Model.CONSOLE, str(Spec("log", {"path": str(path)})))
