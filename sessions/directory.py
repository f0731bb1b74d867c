"""Who serves which device: all service OSes, and what this process serves itself."""

import threading
from functools import partial

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import PeerFault, Refusal
from microhypervisor.events import EventLog
from microhypervisor.plugins import installed, load
from protos import core_pb2
from sessions.attachment import Attachment, Problems
from sessions.channel import REMOTE, RESIDENT, Channel, Open
from sessions.dialogue import Kind
from sessions.service import FAILING_EPOCH, Service
from sessions.session import Session
from sessions.telling import about

FAILING = "failing"  # the resident model that fails requests
_RESIDENT_EPOCH = 1


class ServiceDirectory:
    """All service OSes and the devices that they serve."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._services: dict[str, Service] = {}
        self._residents: dict[ServedDevice, Session] = {}
        self._lock = threading.Lock()

    @property
    def attachments(self) -> list[Attachment]:
        """Of all devices that service OSes serve."""
        return [a for service in self._services.copy().values() for a in service.attachments]

    def prepare(self, endpoint: core_pb2.ServiceEndpoint) -> Problems:
        """Have an incarnation stand by; returns each device with its problem, if any."""
        return self._announced(endpoint).prepare(endpoint)

    def connect(self, endpoint: core_pb2.ServiceEndpoint) -> tuple[Problems, str]:
        """Have an incarnation serve; each device with its problem, and the guilty one's name."""
        return self._announced(endpoint).connect(endpoint)

    def release(self, name: str, patience_ms: int) -> None:
        """Take all devices from the incarnation that serves them, without a loss."""
        self._find(name).release(patience_ms)

    def retry(self, name: str, epoch: int, devices: list[str]) -> Problems:
        """Have the incarnation that serves open devices anew; each with its problem, if any."""
        return self._find(name).retry(epoch, devices)

    def swap(self, name: str, device: str, spec: str, patience_ms: int, idle: bool) -> float:
        """Have another driver serve a device; for how many seconds nobody did."""
        return self._find(name).swap(device, spec, patience_ms, idle)

    def fail(self, name: str, devices: list[str], reason: str, unserved: bool = False) -> int:
        """Fail requests of these devices, or of all that nobody serves; how many they are.

        With `unserved`, only of those that nobody serves.
        """
        return self._find(name).fail(devices, reason, unserved)

    def add(self, device: ServedDevice) -> None:
        """Attach a new device; PeerFault if its service OS is not there or will not serve it."""
        config = device.config
        if config.service:
            self._find(config.service).add(device)
        elif config.model in installed(RESIDENT):
            self._add_resident(device)
        else:
            here = f"device {config.name}: the core itself serves no {config.model}: name a service"
            raise PeerFault(here, Refusal.NOT_CONNECTED)

    def remove(self, device: ServedDevice) -> None:
        """The device is no more."""
        if service := self._services.get(device.config.service):
            service.remove(device)
        if resident := self._residents.pop(device, None):
            resident.close()

    def find(self, device: ServedDevice) -> Attachment | None:
        """Who serves a device, unless it is this process's own."""
        service = self._services.get(device.config.service)
        return service.find(device) if service else None

    def epoch_of(self, device: ServedDevice) -> int | None:
        """The epoch of the incarnation that serves a device now; None if none does."""
        if device in self._residents:
            return _RESIDENT_EPOCH
        a = self.find(device)
        session = a and a.serving
        return session.epoch if session else None

    def resident(self, guest: str, model: str) -> Channel | None:
        """What serves a guest's device of that model within this process, if it has one."""
        for device, session in self._residents.copy().items():
            if device.guest == guest and device.config.model == model:
                return session.channel
        return None

    def _announced(self, endpoint: core_pb2.ServiceEndpoint) -> Service:
        name = endpoint.name
        if not name:
            raise PeerFault("a service OS needs a name")
        with self._lock:
            if name not in self._services:
                self._services[name] = Service(
                    name,
                    self._events,
                    partial(self._session, REMOTE),
                    partial(self._session, (RESIDENT, FAILING)),
                )
            return self._services[name]

    def _find(self, name: str) -> Service:
        if name not in self._services:
            raise PeerFault(f"service {name} is not connected", Refusal.NOT_CONNECTED)
        return self._services[name]

    def _add_resident(self, device: ServedDevice) -> None:
        endpoint = core_pb2.ServiceEndpoint(epoch=_RESIDENT_EPOCH)
        session = self._session((RESIDENT, device.config.model), device, endpoint)
        session.begin()
        session.start(window=False)
        if problem := session.wait_attached():
            session.close()
            raise PeerFault(f"device {device.config.name}: {problem}", problem.refusal)
        self._residents[device] = session

    def _session(
        self,
        entry: tuple[str, str],
        device: ServedDevice,
        endpoint: core_pb2.ServiceEndpoint,
        spec: str = "",
    ) -> Session:
        open_channel: Open = load(*entry)
        channel = open_channel(device, endpoint, self._events)
        return Session(device, endpoint, channel, self._lost, self._happened, spec)

    def _lost(self, session: Session, problem: str) -> None:
        served = session.dialogue.wanted
        kind = core_pb2.EVENT_DEVICE_LOST if served else core_pb2.EVENT_STANDBY_LOST
        self._events.emit(about(kind, session.device, session.epoch, problem))

    def _happened(self, session: Session, kind: Kind, count: int) -> None:
        """Tell the steps of service OSes; of the core's own devices, that they are there."""
        if session.epoch == FAILING_EPOCH:
            return  # told by whoever asked for it
        if kind == core_pb2.EVENT_DEVICE_OPENED:
            told = not session.dialogue.wanted
        else:
            told = bool(session.device.config.service) or kind == core_pb2.EVENT_DEVICE_ATTACHED
        if told:
            self._events.emit(about(kind, session.device, session.epoch, count=count))
