"""Asking a running machine: which one, and the call itself."""

import os
import select
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import grpc

from drivers.options import nearest
from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from protos import operator_pb2_grpc as operator_grpc
from splitvisor.cli.launch import note
from splitvisor.cli.narrate import service_line
from splitvisor.errors import UserError
from splitvisor.supervisor import rpc
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.run_directory import Running, running

ANSWER = 5.0  # seconds for an answer that needs no waiting
END = 60.0  # seconds for a machine to end; flushing disks may take long
UPGRADE = 60.0  # seconds for a service OS to start, and for another to finish what it has
SWAP = 60.0  # seconds for a driver to open, and for another to finish what it has
SILENCE = 2.0  # seconds that a call may take before we say what it waits for
_WAITS = (
    operator.SERVICE_AWAITED,
    operator.SERVICE_DEVICE_AWAITED,
    operator.SERVICE_DEVICE_OPENING,
)


def choose(root: Path, name: str) -> Running:
    """The machine of that name, or the only one if the name is empty."""
    machines = running(root)
    if not machines:
        raise UserError(f"no machine runs under {root}: start one with 'splitvisor up'")
    if not name and len(machines) == 1:
        return machines[0]
    names = [machine.name for machine in machines]
    if not name:
        raise UserError(f"which machine? There are {', '.join(names)}")
    if name not in names:
        raise UserError(f"no machine {name!r} runs{nearest(name, names)}")
    return machines[names.index(name)]


def choose_device(root: Path, text: str) -> tuple[Running, str]:
    """The machine of [MACHINE/]GUEST/DEVICE, if it names none the only one that has the guest, and
    guest/device.
    """
    name, device = split_device(text)
    there = running(root)
    if name or len(there) < 2:
        return choose(root, name), device
    having = [machine for machine in there if _may_have(machine, device.partition("/")[0])]
    if len(having) != 1:
        names = ", ".join(machine.name for machine in having or there)
        cure = f"write MACHINE/{device}, as {(having or there)[0].name}/{device}"
        raise UserError(f"which machine? There are {names}: {cure}")
    return having[0], device


def _may_have(machine: Running, guest: str) -> bool:
    """Whether it has the guest; it may if it does not answer."""
    try:
        return guest in (found.name for found in status(machine).guests)
    except MachineError:
        return True


def split_name(text: str) -> tuple[str, str]:
    """MACHINE/PART into both; UserError if there is a slash and nothing behind it.

    Either is empty if it is left out.
    """
    machine, slash, part = text.partition("/")
    if slash and not part:
        raise UserError(f"{text!r} has no name behind the slash: give one, or leave the slash out")
    return machine, part


def split_device(text: str) -> tuple[str, str]:
    """[MACHINE/]GUEST/DEVICE into the machine, empty if left out, and guest/device.

    UserError for anything else.
    """
    parts = text.split("/")
    machine, guest, device = ["", *parts] if len(parts) == 2 else [*parts, "", ""][:3]
    if len(parts) > 3 or not guest or not device:
        raise UserError(f"{text!r} names no device: write GUEST/DEVICE, or MACHINE/GUEST/DEVICE")
    return machine, f"{guest}/{device}"


def status(machine: Running) -> operator.MachineStatus:
    """The machine's status."""
    reply: operator.MachineStatus = _ask(machine, "Status", operator.StatusRequest(), ANSWER)
    return reply


def statuses(machines: Iterable[Running]) -> list[operator.MachineStatus]:
    """Of all of these that answer; of one that starts or ends that is noted."""
    found = []
    for machine in machines:
        try:
            found.append(status(machine))
        except MachineError as error:
            note(str(error))
    return found


def stop(machine: Running, guest: str) -> None:
    """End a guest, or with an empty name the machine; comes back when it is gone."""
    pidfd = _pidfd(machine)
    with nullcontext() if guest else _waits_told(machine):
        _ask(machine, "Stop", operator.StopRequest(guest=guest), END)
    if not guest and pidfd is not None:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        gone = poll.poll(END * 1000)
        os.close(pidfd)
        if not gone:
            raise MachineError(f"machine {machine.name} has not ended after {END:g} s")
    elif pidfd is not None:
        os.close(pidfd)


@contextmanager
def _waits_told(machine: Running) -> Iterator[None]:
    """Meanwhile say which service OS the end of the machine waits for."""
    with rpc.channel(machine.operator_socket) as channel:
        call = operator_grpc.OperatorStub(channel).Events(core.WatchRequest())

        def tell() -> None:
            with suppress(grpc.RpcError):  # it is cancelled, or there are too many who follow
                for message in call:
                    if message.service.kind in _WAITS:
                        note(service_line(message.service))

        thread = threading.Thread(target=tell)
        thread.start()
        try:
            yield
        finally:
            call.cancel()
            thread.join()


def kill_service(machine: Running, service: str) -> operator.KillServiceReply:
    """SIGKILL a service OS, the only one if the name is empty."""
    request = operator.KillServiceRequest(name=service)
    reply: operator.KillServiceReply = _ask(machine, "KillService", request, ANSWER)
    return reply


def upgrade_service(machine: Running, service: str) -> operator.UpgradeReply:
    """Move all devices of a service OS to a new incarnation; comes back when they are served."""
    request = operator.UpgradeRequest(name=service)
    waiting = f"machine {machine.name}: the new service OS starts, or the old one finishes its work"
    reply: operator.UpgradeReply = _ask(machine, "UpgradeService", request, UPGRADE, waiting)
    return reply


def swap_driver(machine: Running, request: operator.SwapDriverRequest) -> operator.SwapDriverReply:
    """Have another driver serve a device; comes back when it does."""
    waiting = f"machine {machine.name}: the new driver opens, or the old one finishes its work"
    reply: operator.SwapDriverReply = _ask(machine, "SwapDriver", request, SWAP, waiting)
    return reply


def migrate_disk(machine: Running, request: operator.MigrateRequest) -> operator.Migration:
    """Have a disk move to another driver; comes back when it is being copied."""
    waiting = f"machine {machine.name}: the new driver opens, or the old one finishes its work"
    reply: operator.Migration = _ask(machine, "MigrateDisk", request, SWAP, waiting)
    return reply


def migration(machine: Running, device: str) -> operator.Migration:
    """The last one of guest/device, under way or ended."""
    request = operator.MigrationRef(device=device)
    reply: operator.Migration = _ask(machine, "GetMigration", request, ANSWER)
    return reply


def abort_migration(machine: Running, device: str) -> operator.Migration:
    """End the one of guest/device; comes back when it has ended."""
    request = operator.MigrationRef(device=device)
    waiting = f"machine {machine.name}: the old driver of {device} takes over again"
    reply: operator.Migration = _ask(machine, "AbortMigration", request, SWAP, waiting)
    return reply


def release_device(machine: Running, device: str) -> None:
    """Give guest/device, which is in quarantine, back to its service OS."""
    _ask(machine, "ReleaseDevice", operator.ReleaseDeviceRequest(device=device), ANSWER)


def inject_fault(machine: Running, request: operator.FaultRequest) -> operator.FaultReply:
    """Make a service OS misbehave, now or at a failpoint."""
    reply: operator.FaultReply = _ask(machine, "InjectFault", request, ANSWER)
    return reply


def list_faults(machine: Running, service: str) -> list[faults.Armed]:
    """The faults that wait or have acted in the serving incarnation of a service OS."""
    request = operator.ListFaultsRequest(service=service)
    reply: operator.ListFaultsReply = _ask(machine, "ListFaults", request, ANSWER)
    return list(reply.faults)


def clear_faults(machine: Running, service: str) -> int:
    """Take all faults back; how many there were."""
    request = operator.ClearFaultsRequest(service=service)
    reply: operator.ClearFaultsReply = _ask(machine, "ClearFaults", request, ANSWER)
    return reply.cleared


def set_policy(machine: Running, policy: str, slice_ns: int) -> core.SchedulerStatus:
    """Another policy or slice; what is empty or 0 stays as it is."""
    request = core.PolicyConfig(policy=policy, slice_ns=slice_ns)
    reply: core.SchedulerStatus = _ask(machine, "SetPolicy", request, ANSWER)
    return reply


def set_schedule(machine: Running, request: operator.SetScheduleRequest) -> core.GuestStatus:
    """Other parameters for a guest's vCPUs."""
    reply: core.GuestStatus = _ask(machine, "SetSchedule", request, ANSWER)
    return reply


def set_balloon(machine: Running, guest: str, target: int) -> core.GuestStatus:
    """Another target, in bytes that the guest is to keep; answers before it is reached."""
    request = core.BalloonRequest(guest=guest, target=target)
    reply: core.GuestStatus = _ask(machine, "SetBalloon", request, ANSWER)
    return reply


def events(machine: Running, accounting_ms: int) -> Iterator[operator.MachineEvent]:
    """What happens from now on, until the machine ends."""
    status(machine)  # or it says that it is starting
    with rpc.channel(machine.operator_socket) as channel:
        stub = operator_grpc.OperatorStub(channel)
        try:
            yield from stub.Events(core.WatchRequest(accounting_ms=accounting_ms))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise _failure(machine, error) from None


def _ask(machine: Running, method: str, request: Any, timeout: float, waiting: str = "") -> Any:
    with rpc.channel(machine.operator_socket) as channel:
        stub = operator_grpc.OperatorStub(channel)
        try:
            call = getattr(stub, method).future(request, timeout=timeout)
            if waiting and not _done_soon(call):
                note(waiting)
            return call.result()
        except grpc.RpcError as error:
            raise _failure(machine, error) from None


def _done_soon(call: Any) -> bool:
    try:
        call.exception(SILENCE)
    except grpc.FutureTimeoutError:
        return False
    return True


def _failure(machine: Running, error: grpc.RpcError) -> Exception:
    who = f"machine {machine.name} (pid {machine.pid})"
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return MachineError(f"{who} is starting or ending: ask again in a moment")
    return rpc.failure(who, error)


def _pidfd(machine: Running) -> int | None:
    try:
        return os.pidfd_open(machine.pid)
    except ProcessLookupError:
        return None
