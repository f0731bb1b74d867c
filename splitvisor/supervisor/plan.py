"""What a supervisor is to start, with everything checked that can be checked before it starts.

Reading images and options costs milliseconds and finds most mistakes, so all of it is done while
there is no process, socket or folder yet that would have to be cleaned up.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from drivers import registry
from drivers.interface import DriverError
from splitvisor.addresses import addressed, place_of
from splitvisor.claims import refuse_shared_files
from splitvisor.errors import UserError
from splitvisor.image.builder import BuiltGuest, build, with_specs
from splitvisor.machine import Guest, Machine

_TOKEN_VARIABLE = "SPLITVISOR_TOKEN"


@dataclass(frozen=True, slots=True)
class Plan:
    """A machine and its guests' memory contents, in the machine's order."""

    machine: Machine
    guests: tuple[tuple[Guest, BuiltGuest], ...]

    def in_folder(self, folder: Path) -> "Plan":
        """The same with what follows from where it runs: addresses of network cards."""
        machine = addressed(self.machine, place_of(folder))
        guests = zip(machine.guests, self.guests, strict=True)
        return Plan(
            machine, tuple((guest, with_specs(built, guest)) for guest, (_, built) in guests)
        )


def prepare(machine: Machine) -> Plan:
    """Build every guest and check every device; UserError for what cannot work."""
    for guest in machine.guests:
        for device in guest.devices:
            try:
                registry.check(device.model.driver_kind, device.spec)
            except DriverError as error:
                raise UserError(f"guest {guest.name}, device {device.name}: {error}") from None
    refuse_shared_files(machine)
    return Plan(machine, tuple((guest, build(guest)) for guest in machine.guests))


def child_environment(token: str = "") -> dict[str, str]:
    """The environment for a child; only a service OS gets a token."""
    environment = {k: v for k, v in os.environ.items() if k != _TOKEN_VARIABLE}
    if token:
        environment[_TOKEN_VARIABLE] = token
    return environment
