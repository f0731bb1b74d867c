"""An incarnation of a service OS as a process, and what waits for it."""

import os
import secrets
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import trio

from protos import core_pb2 as core
from splitvisor.supervisor.attention import Attention
from splitvisor.supervisor.child import Child, Stdio, spawn
from splitvisor.supervisor.plan import child_environment
from splitvisor.supervisor.run_directory import RunDirectory


@dataclass(slots=True)
class Process:
    """From its launch until it is reaped; `endpoint` is how the core reaches it."""

    child: Child
    endpoint: core.ServiceEndpoint
    attention: Attention
    born: float  # seconds, monotonic
    call: trio.CancelScope = field(default_factory=trio.CancelScope)  # of the last one about it
    _waits: list[trio.CancelScope] = field(default_factory=list)
    _given_up: bool = False

    def new_call(self) -> trio.CancelScope:
        """The scope of another call about it; there is one at a time."""
        self.call = trio.CancelScope()
        return self.call

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A scope for what waits for it, cancelled when it is given up."""
        scope = trio.CancelScope()
        if self._given_up:
            scope.cancel()
        self._waits.append(scope)
        try:
            with scope:
                yield
        finally:
            self._waits.remove(scope)

    def give_up(self) -> None:
        """Nothing is to be expected of it any more."""
        self._given_up = True
        for scope in self._waits:
            scope.cancel()


def launch(
    name: str,
    epoch: int,
    directory: RunDirectory,
    stdio: Stdio,
    failpoints: bool,
    cpus: Set[int],
) -> tuple[Child, core.ServiceEndpoint]:
    """Start an incarnation of service OS `name`, on these CPUs of the host if there are any."""
    listen, grants = directory.service_sockets(name, epoch)
    token = secrets.token_hex(16)
    arguments = ["--name", name, "--epoch", str(epoch)]
    arguments += ["--listen", str(listen), "--grants", str(grants)]
    if failpoints:
        arguments.append("--failpoints")
    log = directory.log(f"{name}.{epoch}")
    child = spawn("service_os", arguments, log, stdio, child_environment(token))
    if cpus:
        with suppress(OSError):  # it has died already, or the host took the CPUs away
            os.sched_setaffinity(child.pid, cpus)
    endpoint = core.ServiceEndpoint(name=name, epoch=epoch, token=token)
    endpoint.address, endpoint.grant_address = str(listen), str(grants)
    return child, endpoint
