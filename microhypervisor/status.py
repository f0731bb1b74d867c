"""What a guest looks like from outside: state and counters as a GuestStatus."""

from microhypervisor.devices.directory import ServiceDirectory
from microhypervisor.devices.served import ServedDevice
from microhypervisor.guest import Guest
from protos import core_pb2

_CPUS = {"kvm": core_pb2.CPU_KVM, "emulated": core_pb2.CPU_EMULATED}


def status_of(guest: Guest, directory: ServiceDirectory) -> core_pb2.GuestStatus:
    """A snapshot; counters may be a few requests apart."""
    end = guest.end
    return core_pb2.GuestStatus(
        name=guest.name,
        state=core_pb2.GuestState.ValueType(guest.state.value),
        end_reason=end.reason if end else core_pb2.END_NONE,
        exit_status=end.exit_status if end else 0,
        report=end.report if end else "",
        cpu=_CPUS.get(guest.processors.name, core_pb2.CPU_AUTO),
        memory=guest.memory.size,
        vcpus=[
            core_pb2.VcpuStatus(
                index=task.vcpu.index,
                state=task.state.value,
                run_ns=task.run_ns(),
                exits=task.vcpu.exits,
            )
            for task in guest.tasks
        ],
        devices=[_device(device, directory.epoch_of(device)) for device in guest.devices],
        rom_writes_refused=guest.address_map.rom_writes_refused,
    )


def _device(device: ServedDevice, epoch: int | None) -> core_pb2.DeviceStatus:
    status = core_pb2.DeviceStatus()
    status.CopyFrom(device.status)
    status.epoch, status.attached = epoch or 0, epoch is not None
    status.in_flight = len(device.log)
    return status
