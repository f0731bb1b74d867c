"""What a campaign is to do, and the command that does it again."""

import shlex
from dataclasses import dataclass
from enum import StrEnum

from splitvisor.machine import CpuChoice
from splitvisor.units import format_duration, format_size

SEEDS = (1 << 31) + 1  # so many there are


class Disk(StrEnum):
    """What the guests' disks are made of."""

    FILE = "file"  # an image, which is judged from outside
    MEMORY = "memory"
    POWERCUT = "powercut"  # each round ends with a loss of power, and what was flushed is judged


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides the order of faults, and where they act."""

    seed: int
    seconds: float  # at most
    kinds: tuple[str, ...]
    every: float | None = None  # seconds; None: as soon as a standby is ready again
    guests: int = 1
    depth: int = 32
    size: int = 64 << 20  # bytes of each disk
    disk: Disk = Disk.FILE
    cpu: CpuChoice = CpuChoice.AUTO
    services: int = 1
    standby: bool = True
    recoveries: int = 0  # it is over when there were so many of both; 0: when the time is
    zombies: int = 0

    @property
    def has_goal(self) -> bool:
        """Whether it is over when enough was done."""
        return self.recoveries > 0 or self.zombies > 0

    def guest_names(self) -> list[str]:
        """The guests, in order."""
        return [f"storm{i}" for i in range(self.guests)]

    def service_names(self) -> list[str]:
        """The service OSes, in order; guest i is served by number i modulo their count."""
        return [f"service{i}" for i in range(self.services)]

    def server(self, guest: int) -> str:
        """The service OS of a guest."""
        return self.service_names()[guest % self.services]

    def round_seed(self, number: int) -> int:
        """The seed of a round, counted from 0; after the last one comes 0."""
        return (self.seed + number) % SEEDS

    def command(self, seed: int, seconds: float) -> str:
        """A command line for another seed and time."""
        words = ["splitvisor", "chaos", f"--seed={seed}", f"--for={_duration(seconds)}"]
        words.append(f"--faults={','.join(self.kinds)}")
        if self.every is not None:
            words.append(f"--every={_duration(self.every)}")
        words += [f"--guests={self.guests}", f"--depth={self.depth}"]
        words += [f"--size={format_size(self.size)}", f"--disk={self.disk}", f"--cpu={self.cpu}"]
        words.append(f"--services={self.services}")
        if not self.standby:
            words.append("--no-standby")
        return shlex.join(words)


def _duration(seconds: float) -> str:
    return format_duration(round(seconds * 1000) * 1_000_000)
