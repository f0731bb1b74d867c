import pytest

from drivers.interface import DriverError, MediumError, UnsupportedError, VirtioQueue
from service_os.models.raw import RawModel


class Adder:
    """Adds the bytes that it is given."""

    device_id, features, config = 42, 1, b"abcd"
    queues = (VirtioQueue(8), VirtioQueue(16, header=4))

    def __init__(self, **said):
        for name, value in said.items():
            setattr(self, name, value)

    def handle(self, queue, readable, writable):
        total = sum(readable) + queue
        if total == 100:
            raise MediumError("too much")
        if total == 101:
            raise UnsupportedError("never")
        if total == 102:
            return len(writable) + 1
        writable[0] = total
        return 1


def execute(driver, readable, *, queue=0, header=b"", room=4):
    area = bytearray(room)
    written = RawModel(driver).execute(queue, header, memoryview(readable), memoryview(area))
    return written, bytes(area)


def test_the_guest_finds_what_the_driver_says():
    shape = RawModel(Adder(failure=b"\7")).shape
    assert (shape.device_id, shape.features, shape.config_space) == (42, 1, b"abcd")
    assert [(q.max_size, q.header_bytes, q.parks) for q in shape.queues] == [
        (8, 0, False),
        (16, 4, False),
    ]
    assert shape.failure == b"\7"


def test_a_request_is_the_drivers_header_included():
    assert execute(Adder(), b"\1\2") == (1, b"\3\0\0\0")
    assert execute(Adder(), b"\1\2", queue=1, header=b"\4\5\6\7") == (1, bytes([26, 0, 0, 0]))


@pytest.mark.parametrize("request_sum", [100, 101])
def test_a_failing_request_ends_as_the_driver_says_or_with_nothing(request_sum):
    assert execute(Adder(), bytes([request_sum])) == (0, bytes(4))
    failing = Adder(failure=b"\1\2")
    assert execute(failing, bytes([request_sum])) == (4, b"\0\0\1\2")
    assert execute(failing, bytes([request_sum]), room=1) == (1, b"\2")
    assert execute(failing, bytes([request_sum]), room=0) == (0, b"")


def test_a_driver_that_claims_too_much_is_at_fault():
    with pytest.raises(ValueError, match="5 bytes written of a request with room for 4"):
        execute(Adder(), bytes([102]))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"device_id": "x"}, "device_id is 'x': it must be a number"),
        ({"device_id": None}, "device_id is None: it must be a number"),
        ({"features": 1.5}, "features is 1.5: it must be a number"),
        ({"config": 5}, "config is 5: it must be of type bytes"),
        ({"failure": "x"}, "failure is 'x': it must be of type bytes"),
        ({"queues": 5}, "queues is 5: it must be a tuple of VirtioQueue"),
        ({"queues": (8,)}, r"queues is \(8,\): it must be a tuple of VirtioQueue"),
    ],
)
def test_an_attribute_of_a_wrong_type_is_named(said, problem):
    with pytest.raises(DriverError, match=f"^the driver's {problem}$"):
        RawModel(Adder(**said))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"device_id": 0}, "the id 0: give one of 1 to"),
        ({"device_id": -1}, "the id -1"),
        ({"device_id": 1 << 32}, "the id 4294967296"),
        ({"features": 1 << 32}, "the features 0x100000000: bits 0 to 23 and 50 to 63"),
        ({"features": 1 << 64}, "the features 0x1"),
        ({"config": bytes(3841)}, "a configuration of 3841 bytes: 3840 are the most"),
        ({"queues": ()}, "0 queues: give 1 to 16"),
        ({"queues": (VirtioQueue(8),) * 17}, "17 queues"),
        ({"queues": (VirtioQueue(0),)}, r"queues of \[0\]: give powers of two up to 1024"),
        ({"queues": (VirtioQueue(12),)}, r"queues of \[12\]"),
        ({"queues": (VirtioQueue(2048),)}, r"queues of \[2048\]"),
        (
            {"queues": (VirtioQueue(1024),) * 2},
            r"queues of \[1024, 1024\]: 1024 descriptors in all",
        ),
        ({"queues": (VirtioQueue(8, 257),)}, r"headers of \[257\] bytes: give 0 to 256"),
    ],
)
def test_nonsense_is_refused_in_one_line(said, problem):
    with pytest.raises(DriverError, match=f"^a virtio device cannot have {problem}"):
        RawModel(Adder(**said))
