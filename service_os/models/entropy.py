"""virtio-rng (virtio 1.2, section 5.4) without the source of randomness."""

from drivers.interface import DriverError, EntropyDriver, MediumError
from service_os.models.attributes import of, wrong
from service_os.models.base import QueueShape, Shape

DEVICE_ID = 4
QUEUE_SIZE = 64

# A guest may offer buffers of any size; without a cap one request could keep the source, and the
# thread of this device, busy for seconds. The specification lets a device give fewer bytes.
MAX_FILL = 64 << 10


class EntropyModel:
    """One source of random bytes."""

    shape = Shape(DEVICE_ID, queues=(QueueShape(QUEUE_SIZE),))

    def __init__(self, driver: EntropyDriver) -> None:
        if problem := wrong(driver, "portion", of(int), "be a number of bytes", MAX_FILL):
            raise DriverError(problem)
        self._driver = driver
        self._most = max(1, min(MAX_FILL, getattr(driver, "portion", MAX_FILL)))

    def execute(self, queue: int, header: bytes, readable: memoryview, writable: memoryview) -> int:
        """See Immediate. A replayed request gets other bytes: those of the first are unknown."""
        count = min(len(writable), self._most)
        try:
            self._driver.fill(writable[:count])
        except MediumError:
            return 0
        return count
