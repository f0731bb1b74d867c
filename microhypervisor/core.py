"""The core as an object: all guests, the memory they may have, what serves their devices.

Who changes something holds `changing`; the gRPC service in front of it (control/) does.
"""

import threading

from microhypervisor.build import build
from microhypervisor.cpu.protocol import BackEnd, Registers
from microhypervisor.devices.served import Serving
from microhypervisor.errors import EnvironmentFault, PeerFault, Refusal
from microhypervisor.events import EventLog
from microhypervisor.guest import Guest
from microhypervisor.memory.ram import Region
from microhypervisor.sched.policy import Parameters
from microhypervisor.sched.scheduler import Scheduler
from protos import core_pb2


class Core:
    """`memory_budget` is in bytes, for all guests together; `serving` finds who serves a device."""

    def __init__(
        self, scheduler: Scheduler, serving: Serving, events: EventLog, memory_budget: int
    ) -> None:
        self.events = events
        self.scheduler = scheduler
        self.serving = serving
        self.memory_budget = memory_budget
        self.changing = threading.Lock()
        self._guests: dict[str, Guest] = {}

    @property
    def guests(self) -> list[Guest]:
        """By name."""
        return [guest for _, guest in sorted(self._guests.copy().items())]

    @property
    def memory_used(self) -> int:
        """Bytes handed out. What a balloon holds counts: its guest may take it back."""
        return sum(guest.memory.size for guest in self.guests)

    def find(self, name: str) -> Guest:
        """The guest of that name, or PeerFault."""
        if name not in self._guests:
            raise PeerFault(f"no guest is named {name}", Refusal.NOT_FOUND)
        return self._guests[name]

    def create(
        self,
        config: core_pb2.GuestConfig,
        cpu: BackEnd,
        regions: list[Region],
        registers: Registers,
        parameters: Parameters,
    ) -> Guest:
        """A new guest, if there is room for it."""
        if config.name in self._guests:
            raise PeerFault(f"guest {config.name} exists already", Refusal.EXISTS)
        wanted, used = sum(region.size for region in regions), self.memory_used
        if used + wanted > self.memory_budget:
            raise EnvironmentFault(
                f"guest {config.name} wants {wanted >> 20} MiB, {used >> 20} of"
                f" {self.memory_budget >> 20} MiB are taken: give it less, or stop another guest"
            )
        said = (config, cpu, regions, registers, parameters)
        guest = build(*said, self.scheduler, self.serving, self.events)
        self._guests[config.name] = guest
        return guest

    def destroy(self, name: str) -> None:
        """End it and give everything back."""
        self.find(name).destroy()
        del self._guests[name]

    def close(self) -> None:
        """End all guests and every watch."""
        with self.changing:
            for guest in self.guests:
                self.destroy(guest.name)
        self.events.close()
