"""What the audience sees: a live table on a terminal, a line a second without one.

Both say which process serves what, how much has gone through each device, and how far blockcheck
has come; what happens in between (the kill, the recovery) is printed as lines.
"""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from protos import operator_pb2 as operator
from splitvisor.cli import render

REFRESH_LIVE = 0.1  # seconds between two looks at the machine
REFRESH_PLAIN = 1.0
_BAR_WIDTH = 40


class Stage:
    """A context manager; the table is gone from the screen when it ends, unless it is the last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    @property
    def refresh(self) -> float:
        """Seconds until the next `show` is worth its while."""
        return REFRESH_LIVE if self._live else REFRESH_PLAIN

    def say(self, line: str, style: str = "") -> None:
        """One line for good, with the time since the beginning."""
        stamp = f"[{time.monotonic() - self._began:5.1f} s] "
        self._console.print(Text(stamp, style="dim") + Text(line, style=style), soft_wrap=True)

    def show(self, machine: operator.MachineStatus, done: int, total: int) -> None:
        """How things stand."""
        if self._live is None:
            self.say(plain_line(machine, done, total))
            return
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            "blockcheck",
            ProgressBar(total, min(done, total), width=_BAR_WIDTH),
            f"{percent(done, total)} of {total:,} requests",
        )
        guests = render.guests_table(machine)
        devices = render.devices_table(machine, self._console.width)
        self._live.update(Group("", guests, "", devices, "", bar), refresh=True)


def percent(done: int, total: int) -> str:
    """`45%`; never more than all."""
    return f"{min(done, total) * 100 // max(total, 1)}%"


def plain_line(machine: operator.MachineStatus, done: int, total: int) -> str:
    """The machine's state in one line: who serves, and the devices that did something."""
    services = {service.name: service for service in machine.services}
    parts = [f"blockcheck {percent(done, total)}"]
    servers = set()
    for guest in machine.guests:
        for device in guest.devices:
            servers.add(render.served_by(device, services.get(device.service)))
            if device.requests:
                amount = render.bytes_text(device.bytes_from_guest + device.bytes_to_guest)
                parts.append(f"{guest.name}/{device.name} {device.requests:,} requests {amount}")
    parts.append(f"served by {', '.join(sorted(servers))}")
    return " | ".join(parts)
