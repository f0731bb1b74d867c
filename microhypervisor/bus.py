"""Where a guest's accesses outside RAM go: power ports, legacy ports, virtio register pages.

Everything else is a hole: reads give all ones, writes vanish, and those that hit ROM are counted.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from microhypervisor.devices.port_device import PortDevice, all_ones
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault
from microhypervisor.memory.ram import GuestMemory
from microhypervisor.virtio.constants import PAGE_SIZE


@dataclass(frozen=True, slots=True)
class PowerPort:
    """A write of a value with (value & mask) == match ends the guest by `action`."""

    port: int
    mask: int
    match: int
    action: int


class AddressMap:
    """What stands where in one guest."""

    def __init__(self, memory: GuestMemory, power: list[PowerPort]) -> None:
        self.memory = memory
        self.rom_writes_refused = 0
        self._power = power
        self._ports: dict[int, PortDevice] = {}
        self._pages: dict[int, VirtioDevice] = {}

    def add_virtio(self, base: int, device: VirtioDevice) -> None:
        """Put a register page at `base`; PeerFault where something is already."""
        page, misplaced = divmod(base, PAGE_SIZE)
        taken = page in self._pages or any(r.base <= base < r.end for r in self.memory.regions)
        if misplaced or taken:
            raise PeerFault(
                f"device {device.identity.name}: no room for a register page at {base:#x}"
            )
        self._pages[page] = device

    def add_ports(self, device: PortDevice) -> None:
        """Put a legacy device at its ports; PeerFault where something is already."""
        ports = range(device.base, device.base + device.count)
        if not ports or ports.stop > 0x10000 or not self._ports.keys().isdisjoint(ports):
            raise PeerFault(
                f"device {device.identity.name}: ports {ports} are taken or do not exist"
            )
        self._ports.update(dict.fromkeys(ports, device))

    def page(self, address: int) -> VirtioDevice | None:
        """The device whose register page holds `address`."""
        return self._pages.get(address // PAGE_SIZE)

    def port(self, port: int) -> PortDevice | None:
        """The device at a port."""
        return self._ports.get(port)

    def power_action(self, port: int, value: int) -> PowerPort | None:
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
        power: Callable[[PowerPort, int], None],
    ) -> None:
        self._map = address_map
        self._blocking = blocking
        self._power = power

    def port_in(self, port: int, size: int) -> int:
        """See Bus."""
        device = self._map.port(port)
        if device is None:
            return all_ones(size)
        with self._blocking():
            return device.port_in(port, size)

    def port_out(self, port: int, size: int, value: int) -> None:
        """See Bus."""
        device = self._map.port(port)
        if device is not None:
            if device.can_post():
                device.port_out(port, size, value)
            else:
                with self._blocking():
                    device.port_out(port, size, value)
        elif action := self._map.power_action(port, value):
            self._power(action, value)

    def mmio_read(self, address: int, size: int) -> int:
        """See Bus."""
        device = self._map.page(address)
        return device.mmio_read(address % PAGE_SIZE, size) if device else all_ones(size)

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """See Bus."""
        device = self._map.page(address)
        if device:
            device.mmio_write(address % PAGE_SIZE, size, value)
        elif self._map.memory.in_rom(address):
            self._map.rom_writes_refused += 1
