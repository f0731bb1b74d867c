"""What sessions tell the operator: events about a device."""

from microhypervisor.devices.served import ServedDevice
from protos import core_pb2
from sessions.dialogue import Kind


def about(
    kind: Kind, device: ServedDevice, epoch: int, text: str = "", count: int = 0
) -> core_pb2.Event:
    """An event about a device and the incarnation of that epoch."""
    return core_pb2.Event(
        kind=kind,
        guest=device.guest,
        device=device.config.name,
        service=device.config.service,
        epoch=epoch,
        text=text,
        count=count,
    )
