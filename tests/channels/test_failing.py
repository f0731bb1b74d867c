"""How requests fail: what the guest's driver finds in their writable parts, and what ports give."""

import pytest

from channels.failing import Failing
from microhypervisor.devices.port_device import PortDevice
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault, Refusal
from microhypervisor.events import EventLog
from protos import core_pb2 as pb
from protos import io_pb2
from sessions.channel import ChannelClosed
from tests.sessions.service import described

ENDPOINT = pb.ServiceEndpoint()


@pytest.fixture
def device(memory):
    device = VirtioDevice("g", pb.DeviceConfig(name="disk0"), memory, None)
    yield device
    device.close()


def failing(device, failure):
    device.adopt(described(failure=failure, state=b"kept", patience_ms=9))
    return Failing(device, ENDPOINT, EventLog())


def answers(channel, *messages):
    """What it answers to each of these, until they end."""
    stream = channel.exchange(iter(messages))
    given = [next(stream) for _ in messages]
    with pytest.raises(ChannelClosed):
        next(stream)
    return given


def batch(*requests):
    return io_pb2.CoreMessage(batch=io_pb2.IoBatch(requests=requests))


def test_it_says_of_the_device_what_was_said_before(device):
    failing(device, b"\1")
    device.change_config(b"\7" * 8)
    device.state = b"newer"
    attach = io_pb2.CoreMessage(attach=io_pb2.Attach())
    channel = Failing(device, ENDPOINT, EventLog())
    first, second = answers(channel, attach, io_pb2.CoreMessage(begin=io_pb2.Begin()))
    assert first.HasField("opened")
    now = described(failure=b"\1", state=b"newer", patience_ms=9, config_space=b"\7" * 8)
    assert second.attached == now
    device.adopt(second.attached)  # which changes nothing
    assert device.description() == now


def test_what_was_said_until_it_begins_counts(device):
    channel = failing(device, b"\1")
    device.state = b"newer"  # by who served until then
    (answer,) = answers(channel, io_pb2.CoreMessage(begin=io_pb2.Begin()))
    assert answer.attached.state == b"newer"


def test_what_comes_with_begin_is_failed(device):
    failing(device, b"\1")
    channel = Failing(device, ENDPOINT, EventLog())
    replay = io_pb2.IoBatch(requests=[io_pb2.Request(slot=5, generation=2, writable=1)])
    begin = io_pb2.CoreMessage(begin=io_pb2.Begin(replay=replay))
    stream = channel.exchange(iter([begin]))
    assert next(stream).HasField("attached")
    (done,) = next(stream).completions.completions
    assert (done.slot, done.generation, done.payload) == (5, 2, b"\1")


@pytest.mark.parametrize(
    ("failure", "writable", "written"),
    [
        (b"\1", 1, b"\1"),
        (b"\1", 513, bytes(512) + b"\1"),
        (b"\1\2", 1, b"\2"),
        (b"\1\2", 5, b"\0\0\0\1\2"),
        (b"\1", 0, b""),
        (b"", 64, b""),
    ],
)
def test_a_failure_stands_at_the_very_end(device, failure, writable, written):
    channel = failing(device, failure)
    request = io_pb2.Request(slot=3, generation=8, writable=writable)
    (answer,) = answers(channel, batch(request))
    (done,) = answer.completions.completions
    assert (done.slot, done.generation) == (3, 8)
    assert (done.written, done.payload) == (len(written), written)


def test_parked_requests_are_answered_at_a_reset(device):
    channel = failing(device, b"\1")
    parked = io_pb2.Request(slot=9, generation=4, queue=1, writable=8)
    reset = io_pb2.CoreMessage(reset=io_pb2.Reset())
    waiting, answered, again = answers(channel, batch(parked), reset, reset)
    assert not waiting.HasField("completions")
    assert answered.completions.completions == [io_pb2.Completion(slot=9, generation=4)]
    assert not again.HasField("completions")


def test_a_port_gives_all_ones(memory):
    config = pb.DeviceConfig(name="com1", ports=pb.PortRange(base=0x3F8, count=8, irq=4))
    device = PortDevice("g", config, memory, None)
    device.adopt(io_pb2.Attached(slots=4))
    request = io_pb2.Request(slot=1, generation=2, access=io_pb2.Access(size=4))
    (answer,) = answers(Failing(device, ENDPOINT, EventLog()), batch(request))
    (done,) = answer.completions.completions
    assert (done.slot, done.generation, done.value) == (1, 2, 0xFFFFFFFF)
    device.close()


def test_a_device_that_nobody_knows_cannot_fail(device):
    with pytest.raises(PeerFault, match="disk0 has never been served") as raised:
        Failing(device, ENDPOINT, EventLog())
    assert raised.value.refusal is Refusal.WRONG_STATE
