"""What is demanded of a virtio device of a kind that only its driver knows."""

from typing import Any

from drivers.interface import MediumError, UnsupportedError
from splitvisor.conformance.contract import check, demand
from splitvisor.conformance.subject import Subject

RESERVED = ((1 << 50) - 1) & ~((1 << 24) - 1)  # bits 24 to 49 are not a device's
MAX_CONFIG = 3840
MAX_QUEUES = 16
MAX_DESCRIPTORS = 1024
MAX_HEADER = 256


@check("virtio")
def says_what_it_is(subject: Subject) -> None:
    """Device id, features, configuration space and queues are in the limits of the interface."""
    with subject.serving() as device:
        number = device.device_id
        demand(type(number) is int and 0 < number < 1 << 32, f"device_id {number!r} is no id")
        features = device.features
        own = type(features) is int and 0 <= features < 1 << 64 and not features & RESERVED
        demand(own, f"features {features!r} has bits that belong to the transport")
        config = device.config
        demand(
            isinstance(config, bytes) and len(config) <= MAX_CONFIG,
            "config is too long, or no bytes",
        )
        queues = device.queues
        demand(1 <= len(queues) <= MAX_QUEUES, f"{len(queues)} queues are not 1 to {MAX_QUEUES}")
        demand(
            sum(q.size for q in queues) <= MAX_DESCRIPTORS, "there are more than 1024 descriptors"
        )
        for queue in queues:
            power = queue.size > 0 and queue.size & (queue.size - 1) == 0
            demand(power, f"a queue of {queue.size} is no power of two")
            demand(0 <= queue.header <= MAX_HEADER, f"a header of {queue.header} bytes is too long")


@check("virtio")
def is_the_same_in_each_incarnation(subject: Subject) -> None:
    """Device id, features, configuration space and queues are those that the guest has seen."""
    with subject.serving() as device:
        first = _shape(device)
    with subject.serving() as device:
        demand(_shape(device) == first, "it is another device after a restart")


def _shape(device: Any) -> tuple[object, ...]:
    return device.device_id, device.features, device.config, tuple(device.queues)


@check("virtio")
def answers_or_refuses_anything(subject: Subject) -> None:
    """Any request, also of nothing and of rubbish, is answered with a number of bytes, or refused
    by MediumError or UnsupportedError.
    """
    with subject.serving() as device:
        for queue in range(len(device.queues)):
            for readable in (b"", b"\0", bytes(16), b"\xff" * 64, bytes(4096)):
                for room in (0, 1, 64, 4096):
                    writable = memoryview(bytearray(room))
                    try:
                        given = device.handle(queue, memoryview(readable), writable)
                    except (MediumError, UnsupportedError):
                        continue
                    fits = type(given) is int and 0 <= given <= room
                    demand(fits, f"queue {queue}: {given!r} bytes were given of {room}")
