"""What a machine uses is nobody else's while one of them writes it: files, and what servers have.

The supervisor holds the locks. It outlives its service OSes, so there is no moment in a recovery at
which somebody else could come in between.
"""

from contextlib import ExitStack, suppress

from drivers.interface import DriverError
from splitvisor.errors import UserError
from splitvisor.machine import Machine
from splitvisor.supervisor.export_locks import ExportLocks
from splitvisor.supervisor.file_locks import FileLocks


class Locks:
    """Of one machine; as a context given back at its end."""

    def __init__(self) -> None:
        self._all = FileLocks(), ExportLocks()
        self._exit = ExitStack()

    def __enter__(self) -> "Locks":
        for locks in self._all:
            self._exit.enter_context(locks)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def take(self, machine: Machine) -> None:
        """Lock also what this machine claims; UserError if somebody else uses it, or a driver is
        not to be had.
        """
        try:
            for locks in self._all:
                locks.take(machine)
        except DriverError as error:
            raise UserError(str(error)) from None

    def keep(self, machine: Machine) -> None:
        """Give back what this machine does not claim, and lock what it claims and is free.

        While a driver is not to be had (it is being installed anew, say) all stays as it is.
        """
        with suppress(DriverError):
            for locks in self._all:
                locks.keep(machine)
