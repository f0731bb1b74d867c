"""A service OS with several incarnations that follow the test's script, and devices for it."""

import queue
import threading

from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault
from microhypervisor.events import EventLog
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out
from protos import core_pb2 as pb
from sessions import directory
from sessions.directory import ServiceDirectory
from tests.sessions.service import PATIENCE, Rig, ScriptedService, Served, described


class Disk(Rig):
    """A virtio device with its driver, to be attached through a directory."""

    def __init__(self, name, service="main"):
        memory = GuestMemory("g", lay_out([(RegionKind.RAM, 0, 4 << 20)]))
        config = pb.DeviceConfig(name=name, service=service, model="block", inline_payload=True)
        self.memory = memory
        self.notices = []
        self.rings = []
        Served.__init__(self, VirtioDevice("g", config, memory, self.notices.append))

    def close(self):
        for ring in self.device._queues:
            ring.disable()
        self.device.close()
        self.memory.close()


class Services:
    """A directory whose channels lead to scripted incarnations; `how` says how the next behave."""

    def __init__(self, monkeypatch):
        # (epoch, device) or epoch to attributes of ScriptedService, or a list: one after the other
        self.how = {}
        self.made = {}  # (epoch, device) to the service
        events = EventLog()
        self.happened = queue.SimpleQueue()
        watch = events.watch(lambda: False)
        self.watcher = threading.Thread(target=lambda: [self.happened.put(e) for e in watch])
        self.watcher.start()
        self.events = events
        real = directory.load
        monkeypatch.setattr(
            directory, "load", lambda *e: self._open if e == directory.REMOTE else real(*e)
        )
        self.directory = ServiceDirectory(events)
        self.disks = []

    def _open(self, device, endpoint, events):
        del events
        key = endpoint.epoch, device.config.name
        own = self.how.get(key, {})
        if isinstance(own, list):
            own = own.pop(0) if own else {}
        how = {**self.how.get(endpoint.epoch, {}), **own}
        service = ScriptedService(endpoint.epoch, how.pop("answer", described()))
        vars(service).update(how)
        self.made[key] = service
        return service

    def disk(self, name, service="main"):
        """A device whose driver is ready."""
        disk = Disk(name, service)
        self.disks.append(disk)
        self.directory.add(disk.device)
        epoch = self.directory.epoch_of(disk.device)
        disk.start()
        served = self.made[epoch, name]
        while not served.take().HasField("activate"):
            pass
        return disk

    def connect(self, epoch, name="main", **fields):
        return self.directory.connect(pb.ServiceEndpoint(name=name, epoch=epoch, **fields))

    def prepare(self, epoch, name="main"):
        results = self.directory.prepare(pb.ServiceEndpoint(name=name, epoch=epoch))
        return [str(problem or "") for _, problem in results]

    def die(self, epoch):
        """Every stream of an incarnation breaks."""
        for (of, _), service in self.made.items():
            if of == epoch:
                service.die()

    def next(self, kind):
        """The next event of a kind; those before it are forgotten."""
        while (event := self.happened.get(timeout=PATIENCE)).kind != kind:
            pass
        return event

    def so_far(self):
        """All events that were not taken yet, as kinds."""
        self.events.emit(pb.Event(kind=pb.EVENT_POLICY_CHANGED))
        kinds = []
        while (event := self.happened.get(timeout=PATIENCE)).kind != pb.EVENT_POLICY_CHANGED:
            kinds.append(event.kind)
        return kinds

    def close(self):
        for disk in self.disks:
            self.directory.remove(disk.device)
        for disk in self.disks:
            disk.close()
        for service in self.made.values():
            service.join()
        self.events.close()
        self.watcher.join(PATIENCE)


def background(call, *arguments):
    """The call on a thread of its own; a list that will hold its result or error."""
    result = []

    def run():
        try:
            result.append(call(*arguments))
        except PeerFault as fault:
            result.append(fault)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result
