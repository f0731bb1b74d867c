"""A service OS that follows a script, behind the Channel protocol; and a guest's device for it."""

import mmap
import os
import queue
import select
import threading
import time

from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.virtio import constants as v
from protos import core_pb2, io_pb2
from sessions.channel import ChannelClosed
from sessions.session import Session
from tests.microhypervisor.ring import Ring

PATIENCE = 60  # seconds; only a failing test waits so long
TOKEN = "secret"
CONFIG = b"\x08\0\0\0\0\0\0\0"
FEATURE = 1 << 9
HEADER = 16
DATA = 0x100000  # guest memory that no ring or header uses


def described(*queues, **fields):
    """Attached, by default a device with a queue of 8 (header of 16 bytes) and a parking one."""
    fields = {"device_id": 2, "features": FEATURE, "config_space": CONFIG, **fields}
    if not queues:
        queues = (
            io_pb2.Queue(max_size=8, header_bytes=HEADER),
            io_pb2.Queue(max_size=8, parks=True),
        )
    return io_pb2.Attached(queues=queues, **fields)


def eventually(holds):
    """Let other threads go on until `holds()`."""
    deadline = time.monotonic() + PATIENCE
    while not (result := holds()):
        assert time.monotonic() < deadline, "it never happened"
        os.sched_yield()
    return result


class ScriptedService:
    """One incarnation. `answer` to Begin: Attached, a refusal (text or ChannelClosed), or nothing.

    `opens` is what it answers to Attach in the same way; True stands for Opened.
    """

    def __init__(self, epoch, answer, opens=True):
        self.epoch = epoch
        self.opens = opens
        self.patience_ms = 0  # as Opened has it
        self.ended = threading.Event()  # the core has ended the stream in order
        self.stays = False  # and this side does not
        self.attach = None
        self.begin = None
        self.granted = None
        self.view = None  # our mapping of the grant window
        self.refuse_grant = False
        self._answer = answer
        self._inbox = queue.SimpleQueue()
        self._outbox = queue.SimpleQueue()
        self._puller = None

    # Channel

    def exchange(self, outgoing):
        self._puller = threading.Thread(target=self._pull, args=(outgoing,))
        self._puller.start()
        while True:
            message = self._outbox.get()
            if isinstance(message, ChannelClosed):
                raise message
            if isinstance(message, str):
                raise ChannelClosed(message)
            yield message

    def grant(self, grant, fd):
        if self.refuse_grant:
            raise ChannelClosed("nobody takes the window")
        self.granted = grant
        self.view = mmap.mmap(fd, os.fstat(fd).st_size)

    def close(self):
        self._outbox.put("closed")

    # the script's side

    def _pull(self, outgoing):
        for message in outgoing:
            if message.HasField("attach"):
                self.attach = message.attach
                if self.opens is True:
                    self.say(opened=io_pb2.Opened(patience_ms=self.patience_ms))
                elif self.opens:
                    self._outbox.put(self.opens)
            elif message.HasField("begin"):
                self.begin = message.begin
                if isinstance(self._answer, io_pb2.Attached):
                    self.say(attached=self._answer)  # which copies it
                elif self._answer:
                    self._outbox.put(self._answer)
                if message.begin.HasField("activate"):
                    self._inbox.put(io_pb2.CoreMessage(activate=message.begin.activate))
                if message.begin.replay.requests:
                    self._inbox.put(io_pb2.CoreMessage(batch=message.begin.replay))
            else:
                self._inbox.put(message)
        self.ended.set()
        if not self.stays:
            self._outbox.put("the service OS ended the stream")

    def take(self):
        """The next message of the core, after Attach."""
        return self._inbox.get(timeout=PATIENCE)

    def take_batch(self, replay=False):
        """The requests of the next message, which is a batch."""
        message = self.take()
        assert message.WhichOneof("body") == "batch", message
        assert (message.batch.epoch, message.batch.replay) == (self.epoch, replay)
        return list(message.batch.requests)

    def take_control(self, kind):
        """The next message, which is not a batch."""
        message = self.take()
        assert message.WhichOneof("body") == kind, message
        return getattr(message, kind)

    def idle(self, device):
        """The core has nothing more to say until somebody rings."""

        def asleep():
            waiting, _, _ = select.select([device.doorbell], [], [], 0)
            with open(f"/proc/self/task/{self._puller.native_id}/syscall") as file:
                call = file.read().split()
            return not waiting and call[0] == "0" and int(call[1], 16) == device.doorbell

        eventually(asleep)
        return self._inbox.empty()

    def say(self, **body):
        """Send a ServiceMessage."""
        self._outbox.put(io_pb2.ServiceMessage(**body))

    def complete(self, *requests, written=0, epoch=None, **fields):
        """Completions for requests as they came."""
        done = [
            io_pb2.Completion(slot=r.slot, generation=r.generation, written=written)
            for r in requests
        ]
        self.answer(*done, epoch=epoch, **fields)

    def answer(self, *completions, epoch=None, **fields):
        """Completions as given."""
        epoch = self.epoch if epoch is None else epoch
        self.say(completions=io_pb2.Completions(epoch=epoch, completions=completions, **fields))

    def writable(self, request, stride):
        """Where in `view` a request may be answered."""
        return request.slot * stride + (request.readable + 63) // 64 * 64

    def die(self):
        self._outbox.put("the service OS died")

    def join(self):
        if self._puller:
            self._puller.join(PATIENCE)
            assert not self._puller.is_alive(), "the sender hangs"
        if self.view is not None:
            self.view.close()
            self.view = None


class Served:
    """A device, its interrupt line and the service OSes it has had."""

    described = io_pb2.Attached()  # what a service OS says by default

    def __init__(self, device):
        self.device = device
        self.pulses = queue.SimpleQueue()
        self.device.wire_interrupt(lambda: self.pulses.put(None))
        self.losses = queue.SimpleQueue()
        self.replays = queue.SimpleQueue()
        self.steps = queue.SimpleQueue()  # all others, as kinds of events
        self.epoch = 0
        self.session = None
        self.services = []

    def open(self, answer=None, **how):
        """Start the next incarnation; the problem, or an empty text."""
        if self.session:
            self.session.close()
        self.epoch += 1
        service = ScriptedService(self.epoch, self.described if answer is None else answer)
        vars(service).update(how)
        self.services.append(service)
        endpoint = core_pb2.ServiceEndpoint(name="main", epoch=self.epoch, token=TOKEN)
        self.session = Session(
            self.device,
            endpoint,
            service,
            lambda _, problem: self.losses.put(problem),
            lambda _, kind, count: self._step(kind, count),
        )
        self.session.begin()
        self.session.start()
        return str(self.session.wait_attached() or "")

    def _step(self, kind, count):
        if kind == core_pb2.EVENT_DEVICE_REPLAYED:
            self.replays.put(count)
        else:
            self.steps.put(kind)

    def attach(self, answer=None):
        """The next incarnation, attached."""
        problem = self.open(answer)
        assert not problem
        eventually(lambda: self.device.served)
        return self.services[-1]

    def lose(self, service):
        """The service OS dies, and the core has noticed."""
        service.die()
        return self.losses.get(timeout=PATIENCE)

    def close(self):
        if self.session:
            self.session.close()
        for service in self.services:
            service.join()
        self.device.close()


class Rig(Served):
    """A virtio device with its driver."""

    described = described()

    def __init__(self, memory, inline=False):
        config = core_pb2.DeviceConfig(name="disk", service="main", model="block", spec="memory:1M")
        config.inline_payload = inline
        self.memory = memory
        self.notices = []
        self.rings = []
        super().__init__(VirtioDevice("g", config, memory, self.notices.append))

    def sync(self, service):
        """Everything that the service OS has said so far has been dealt with."""
        transport = self.device.transport
        generation = transport.config_generation
        service.say(config_change=io_pb2.ConfigChange(config_space=transport.config))
        eventually(lambda: transport.config_generation != generation)

    def write(self, register, value):
        self.device.mmio_write(register, 4, value)

    def read(self, register):
        return self.device.mmio_read(register, 4)

    def start(self, features=FEATURE, size=8, queues=2):
        """Reset the device and bring it up, with rings of `size`."""
        features |= v.F_VERSION_1
        self.write(v.STATUS, 0)
        self.write(v.STATUS, v.ACKNOWLEDGE | v.DRIVER)
        for word in (0, 1):
            self.write(v.DRIVER_FEATURES_SEL, word)
            self.write(v.DRIVER_FEATURES, features >> 32 * word & 0xFFFFFFFF)
        self.write(v.STATUS, v.ACKNOWLEDGE | v.DRIVER | v.FEATURES_OK)
        self.rings = [Ring(self.memory, size, 0x10000 * (1 + n)) for n in range(queues)]
        for number, ring in enumerate(self.rings):
            self.put_in_service(number, ring)
        self.write(v.STATUS, self.read(v.STATUS) | v.DRIVER_OK)
        assert self.device.transport.live

    def put_in_service(self, number, ring):
        """Clear a ring and tell the device where it is."""
        place = self.memory.place(ring.desc, ring.end - ring.desc)
        self.memory.view[place : place + ring.end - ring.desc] = bytes(ring.end - ring.desc)
        ring.seen = 0
        self.write(v.QUEUE_SEL, number)
        for register, value in [
            (v.QUEUE_NUM, ring.size),
            (v.QUEUE_DESC_LOW, ring.desc),
            (v.QUEUE_DRIVER_LOW, ring.avail),
            (v.QUEUE_DEVICE_LOW, ring.used),
            (v.QUEUE_READY, 1),
        ]:
            self.write(register, value)

    def submit(self, *heads, number=0, buffers=None):
        """Offer chains and ring; by default a header, nothing else readable, one writable byte."""
        for head in heads:
            self.chain(head, number, buffers)
        self.rings[number].offer(*heads)
        self.write(v.QUEUE_NOTIFY, number)

    def chain(self, head, number=0, buffers=None):
        at = self.header_at(head)
        self.poke(at, bytes([head]) * HEADER)
        standard = [(0, at, HEADER), (v.DESC_WRITE, at + HEADER, 1)]
        if number:
            standard = standard[1:]
        table = 0x200000 + 0x1000 * head + 0x100000 * number
        buffers = buffers or standard
        self.rings[number].chain(0, *buffers, table=table)
        self.rings[number].describe(head, table, 16 * len(buffers), v.DESC_INDIRECT)

    @staticmethod
    def header_at(head):
        return 0x80000 + 0x100 * head

    def poke(self, address, data):
        place = self.memory.place(address, len(data))
        self.memory.view[place : place + len(data)] = data

    def peek(self, address, length):
        place = self.memory.place(address, length)
        return bytes(self.memory.view[place : place + length])

    def interrupted(self):
        """Wait for an interrupt and acknowledge it: the interrupt status."""
        self.pulses.get(timeout=PATIENCE)
        status = self.read(v.INTERRUPT_STATUS)
        self.write(v.INTERRUPT_ACK, status)
        return status

    def done(self, number=0):
        """Wait for an interrupt; the heads that came back."""
        assert self.interrupted() & v.INT_VRING
        return [head for head, _ in self.rings[number].take()]

    def close(self):
        if self.session:
            self.session.close()
        for ring in self.device._queues:
            ring.disable()
        super().close()


def running(rig):
    """A service OS that serves a device whose driver is ready."""
    service = rig.attach()
    rig.start()
    assert service.take().HasField("reset")
    assert service.take().HasField("activate")
    return service


def slots(requests):
    return [r.slot for r in requests]


def dropped(rig, service, count):
    """Wait until the core has dealt with everything; so many were dropped."""
    rig.sync(service)
    assert rig.device.status.dropped == count
