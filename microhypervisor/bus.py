"""Where a guest's accesses outside RAM go: power ports, legacy ports, virtio register pages.

Everything else is a hole: reads give all ones, writes vanish, and those that hit ROM are counted.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from microhypervisor.devices.port_device import PortDevice, all_ones
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault
from microhypervisor.memory.ram import GuestMemory
from microhypervisor.virtio.constants import PAGE_SIZE
from protos import core_pb2


class AddressMap:
    """What stands where in one guest."""

    def __init__(self, memory: GuestMemory, power: Iterable[core_pb2.PowerPort]) -> None:
        self.memory = memory
        self.rom_writes_refused = 0
        self._power = list(power)
        self.ports: dict[int, PortDevice] = {}
        self.pages: dict[int, VirtioDevice] = {}

    def add_virtio(self, base: int, device: VirtioDevice) -> None:
        """Put a register page at `base`; PeerFault where something is already."""
        page, misplaced = divmod(base, PAGE_SIZE)
        taken = page in self.pages or any(r.base <= base < r.end for r in self.memory.regions)
        if misplaced or taken:
            raise PeerFault(
                f"device {device.config.name}: no room for a register page at {base:#x}"
            )
        self.pages[page] = device

    def add_ports(self, device: PortDevice) -> None:
        """Put a legacy device at its ports; PeerFault where something is already."""
        ports = range(device.base, device.base + device.count)
        if not ports or ports.stop > 0x10000 or not self.ports.keys().isdisjoint(ports):
            raise PeerFault(f"device {device.config.name}: ports {ports} are taken or do not exist")
        self.ports.update(dict.fromkeys(ports, device))

    def port_device(self, port: int, size: int) -> PortDevice | None:
        """Who answers an access; one that reaches beyond its device is nobody's."""
        device = self.ports.get(port)
        return device if device is self.ports.get(port + size - 1) else None

    def power_action(self, port: int, value: int) -> core_pb2.PowerPort | None:
        """What a write to a port does to the machine itself."""
        for power in self._power:
            if power.port == port and value & power.mask == power.match:
                return power
        return None


class VcpuBus:
    """The address map as one vCPU uses it (a cpu.protocol.Bus)."""

    def __init__(
        self,
        address_map: AddressMap,
        blocking: Callable[[], AbstractContextManager[None]],
        power: Callable[[core_pb2.PowerPort, int], None],
    ) -> None:
        self._map = address_map
        self._blocking = blocking
        self._power = power

    def port_in(self, port: int, size: int) -> int:
        device = self._map.port_device(port, size)
        if device is None:
            return all_ones(size)
        with self._blocking():
            return device.port_in(port, size)

    def port_out(self, port: int, size: int, value: int) -> None:
        device = self._map.port_device(port, size)
        if device is not None:
            if not device.port_out(port, size, value, wait=False):
                with self._blocking():
                    device.port_out(port, size, value)
        elif action := self._map.power_action(port, value):
            self._power(action, value)

    def mmio_read(self, address: int, size: int) -> int:
        device = self._map.pages.get(address // PAGE_SIZE)
        return device.mmio_read(address % PAGE_SIZE, size) if device else all_ones(size)

    def mmio_write(self, address: int, size: int, value: int) -> None:
        device = self._map.pages.get(address // PAGE_SIZE)
        if device:
            device.mmio_write(address % PAGE_SIZE, size, value)
        elif self._map.memory.in_rom(address):
            self._map.rom_writes_refused += 1
