"""From a checked GuestConfig to a Guest: nothing is left on failure."""

from contextlib import ExitStack

from microhypervisor.bus import AddressMap
from microhypervisor.cpu.protocol import BackEnd, Registers
from microhypervisor.devices.port_device import PortDevice
from microhypervisor.devices.served import Config, ServedDevice, Serving
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.events import EventLog, Rationed
from microhypervisor.guest import Guest, wire
from microhypervisor.memory.ram import GuestMemory, Region
from microhypervisor.sched.policy import Parameters
from microhypervisor.sched.scheduler import Scheduler
from protos import core_pb2


def build(
    config: core_pb2.GuestConfig,
    cpu: BackEnd,
    regions: list[Region],
    registers: Registers,
    parameters: Parameters,
    scheduler: Scheduler,
    directory: Serving,
    events: EventLog,
) -> Guest:
    """A guest in state CREATED, its devices attached and wired."""
    name = config.name
    with ExitStack() as undo:
        memory = GuestMemory(name, regions)
        undo.callback(memory.close)
        processors = cpu(memory, config.vcpus, config.kernel_irqchip)
        undo.callback(processors.close)
        address_map = AddressMap(memory, config.power_ports)
        devices: list[ServedDevice] = []
        for wanted in config.devices:
            device = _place(name, wanted, memory, address_map, events)
            undo.callback(device.close)
            devices.append(device)
            directory.add(device)
            undo.callback(directory.remove, device)
            placement = wanted.virtio if wanted.HasField("virtio") else wanted.ports
            wire(processors, device, placement.base, placement.irq)
        first = (name, memory, processors, registers, parameters, address_map, devices)
        guest = Guest(*first, scheduler, directory, events)
        undo.pop_all()
        return guest


def _place(
    guest: str, wanted: Config, memory: GuestMemory, address_map: AddressMap, events: EventLog
) -> ServedDevice:
    rationed = Rationed(events)

    def notice(reason: str) -> None:
        kind = core_pb2.EVENT_DEVICE_NEEDS_RESET
        rationed.emit(core_pb2.Event(kind=kind, guest=guest, device=wanted.name, text=reason))

    if wanted.HasField("virtio"):
        virtio = VirtioDevice(guest, wanted, memory, notice)
        address_map.add_virtio(wanted.virtio.base, virtio)
        return virtio
    ports = PortDevice(guest, wanted, memory, notice)
    address_map.add_ports(ports)
    return ports
