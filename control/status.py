"""What a guest and its processors look like from outside: state and counters as messages."""

import time

from channels.balloon import Balloon
from microhypervisor.devices.served import ServedDevice
from microhypervisor.guest import Guest
from microhypervisor.memory.ram import PAGE, Region
from microhypervisor.plugins import installed
from microhypervisor.sched.accounting import State
from microhypervisor.sched.scheduler import GROUP, Scheduler
from microhypervisor.sched.task import Task
from protos import core_pb2
from sessions.attachment import Problems
from sessions.directory import ServiceDirectory

_CPUS = {"kvm": core_pb2.CPU_KVM, "emulated": core_pb2.CPU_EMULATED}


def status_of(guest: Guest, directory: ServiceDirectory) -> core_pb2.GuestStatus:
    """A snapshot; counters may be a few requests apart."""
    end, balloon = guest.end, balloon_of(directory, guest.name)
    return core_pb2.GuestStatus(
        name=guest.name,
        state=core_pb2.GuestState.ValueType(guest.state.value),
        end_reason=end.reason if end else core_pb2.END_NONE,
        exit_status=end.exit_status if end else 0,
        report=end.report if end else "",
        cpu=_CPUS.get(guest.processors.name, core_pb2.CPU_AUTO),
        memory=guest.memory.size,
        vcpus=accounts(guest),
        devices=[_device(device, directory) for device in guest.devices],
        rom_writes_refused=guest.address_map.rom_writes_refused,
        resident=guest.memory.resident(),
        balloon_target=balloon.target if balloon else 0,
        balloon_actual=balloon.actual if balloon else 0,
        dirty_tracking=guest.dirty_tracking,
    )


def accounts(guest: Guest) -> list[core_pb2.VcpuStatus]:
    """Where its vCPUs are, and where their time went."""
    return [_vcpu(task) for task in guest.tasks]


def _vcpu(task: Task) -> core_pb2.VcpuStatus:
    now, account, parameters = time.monotonic_ns(), task.account, task.parameters
    exits = dict(task.vcpu.exits)
    schedule = core_pb2.Schedule(
        weight=parameters.weight,
        cap=parameters.cap,
        budget_ns=parameters.budget_ns,
        period_ns=parameters.period_ns,
        affinity=sorted(parameters.affinity),
    )
    return core_pb2.VcpuStatus(
        index=task.vcpu.index,
        state=account.state.value,
        run_ns=account.spent(State.RUNNING, now),
        wait_ns=account.spent(State.READY, now),
        halted_ns=account.spent(State.HALTED, now),
        blocked_ns=account.spent(State.BLOCKED, now),
        paused_ns=account.spent(State.PAUSED, now),
        switches=account.switches,
        pcpu=task.pcpu.index if task.pcpu else None,
        exits=sum(exits.values()),
        exits_by_reason=exits,
        schedule=schedule,
        wakes=account.wakes,
        wake_latency=account.wake_latency,
    )


def balloon_of(directory: ServiceDirectory, guest: str) -> Balloon | None:
    """The guest's balloon, if it has one."""
    found = directory.resident(guest, "balloon")
    return found if isinstance(found, Balloon) else None


def dirty_pages(regions: list[Region], bits: int) -> core_pb2.DirtyPages:
    """Bits of pages, all regions back to back, as a bitmap for each."""
    pages = core_pb2.DirtyPages()
    for region in regions:
        count = region.size // PAGE
        own = bits >> region.offset // PAGE & (1 << count) - 1
        bitmap = own.to_bytes((count + 7) // 8, "little")
        pages.regions.add(base=region.base, size=region.size, bitmap=bitmap)
    return pages


def scheduler_status(scheduler: Scheduler) -> core_pb2.SchedulerStatus:
    """The pCPUs and who runs on each."""
    return core_pb2.SchedulerStatus(
        policy=scheduler.policy_name,
        slice_ns=scheduler.slice_ns,
        policies=installed(GROUP),
        pcpus=[
            core_pb2.PcpuStatus(
                index=pcpu.index,
                host_cpu=pcpu.host_cpu,
                running=task.name if (task := pcpu.task) else "",
                busy_ns=pcpu.busy_ns + (time.monotonic_ns() - pcpu.since if pcpu.task else 0),
                switches=pcpu.switches,
            )
            for pcpu in scheduler.pcpus
        ],
    )


def connect_reply(results: Problems, guilty: str = "") -> core_pb2.ConnectReply:
    """What became of each device."""
    problems = _problems(results)
    attached = len(results) - len(problems)
    return core_pb2.ConnectReply(problems=problems, attached=attached, guilty=guilty)


def retry_reply(results: Problems) -> core_pb2.RetryReply:
    """What became of each device that was tried again."""
    served = [f"{d.guest}/{d.config.name}" for d, problem in results if not problem]
    return core_pb2.RetryReply(served=served, problems=_problems(results))


def _problems(results: Problems) -> list[core_pb2.DeviceProblem]:
    return [
        core_pb2.DeviceProblem(guest=d.guest, device=d.config.name, problem=str(problem))
        for d, problem in results
        if problem
    ]


def _device(device: ServedDevice, directory: ServiceDirectory) -> core_pb2.DeviceStatus:
    status, epoch = core_pb2.DeviceStatus(), directory.epoch_of(device)
    status.CopyFrom(device.status)
    status.epoch, status.attached = epoch or 0, epoch is not None
    status.in_flight = len(device.log)
    status.spec = device.config.spec
    if attachment := directory.find(device):
        status.failing, status.standby = attachment.failing, attachment.standing_by
    return status
