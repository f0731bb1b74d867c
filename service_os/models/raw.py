"""A virtio device that the driver itself is: whatever kind, whatever its requests mean.

Of the device nothing is known here but what virtio says of every one (1.2, section 2), and that is
checked, since the core would end the stream of a device that makes no sense without a word of whose
fault it is.
"""

from collections.abc import Sequence
from typing import Any

from drivers.interface import (
    DriverError,
    MediumError,
    UnsupportedError,
    VirtioDevice,
    VirtioQueue,
)
from service_os.models.attributes import of, wrong
from service_os.models.base import QueueShape, Shape

# What a device can be at most, as the core has it and protos/io.proto says.
MAX_QUEUES = 16
MAX_QUEUE_SIZE = 1024
MAX_DESCRIPTORS = 1024
MAX_HEADER = 256
MAX_CONFIG = 4096 - 0x100  # what a register page has room for
MAX_ID = (1 << 32) - 1
TRANSPORT = ((1 << 50) - 1) & ~((1 << 24) - 1)  # feature bits that are not the device's (2.2)
ALL_FEATURES = (1 << 64) - 1


class RawModel:
    """One device; DriverError if what the driver says it is makes no sense."""

    def __init__(self, driver: VirtioDevice) -> None:
        if problem := _mistyped(driver):
            raise DriverError(problem)
        if nonsense := _nonsense(driver):
            raise DriverError(f"a virtio device cannot have {nonsense}")
        self._handle = driver.handle
        self._failure = bytes(getattr(driver, "failure", b""))
        queues = tuple(QueueShape(queue.size, queue.header) for queue in driver.queues)
        config = bytes(driver.config)
        self.shape = Shape(driver.device_id, driver.features, config, queues, failure=self._failure)

    def execute(self, queue: int, header: bytes, readable: memoryview, writable: memoryview) -> int:
        """See Immediate."""
        if header:
            readable = memoryview(header + readable)
        try:
            written = self._handle(queue, readable, writable)
        except (MediumError, UnsupportedError):
            return self._fail(writable)
        if not 0 <= written <= len(writable):
            raise ValueError(f"{written} bytes written of a request with room for {len(writable)}")
        return written

    def _fail(self, writable: memoryview) -> int:
        failure = self._failure[-len(writable) :] if writable else b""
        if not failure:
            return 0
        writable[:] = failure.rjust(len(writable), b"\0")
        return len(writable)


def _mistyped(driver: VirtioDevice) -> str:
    """Which attribute is of a type that makes no sense, in one line; "" if none is."""
    return (
        wrong(driver, "device_id", of(int), "be a number")
        or wrong(driver, "features", of(int), "be a number")
        or wrong(driver, "config", of(bytes), "be of type bytes")
        or wrong(driver, "failure", of(bytes), "be of type bytes", b"")
        or wrong(driver, "queues", _are_queues, "be a tuple of VirtioQueue")
    )


def _are_queues(queues: Any) -> bool:
    return isinstance(queues, Sequence) and all(isinstance(one, VirtioQueue) for one in queues)


def _nonsense(driver: VirtioDevice) -> str:
    """What of it no device has; empty if all is well."""
    sizes = [queue.size for queue in driver.queues]
    headers = [queue.header for queue in driver.queues]
    if not 0 < driver.device_id <= MAX_ID:
        return f"the id {driver.device_id}: give one of 1 to {MAX_ID}"
    if not 0 <= driver.features <= ALL_FEATURES or driver.features & TRANSPORT:
        return f"the features {driver.features:#x}: bits 0 to 23 and 50 to 63 are its own"
    if len(driver.config) > MAX_CONFIG:
        return f"a configuration of {len(driver.config)} bytes: {MAX_CONFIG} are the most"
    if not 0 < len(sizes) <= MAX_QUEUES:
        return f"{len(sizes)} queues: give 1 to {MAX_QUEUES}"
    if any(not 0 < size <= MAX_QUEUE_SIZE or size & (size - 1) for size in sizes):
        return f"queues of {sizes}: give powers of two up to {MAX_QUEUE_SIZE}"
    if sum(sizes) > MAX_DESCRIPTORS:
        return f"queues of {sizes}: {MAX_DESCRIPTORS} descriptors in all are the most"
    if any(not 0 <= header <= MAX_HEADER for header in headers):
        return f"headers of {headers} bytes: give 0 to {MAX_HEADER}"
    return ""
