"""Which incarnation serves which device: attaches, notices loss, attaches to the next one.

Only one incarnation of a service OS is ever known. Whoever announces the next guarantees that the
last is dead and reaped, so its sessions are closed here without asking.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

from microhypervisor.devices.channel import GrpcChannel
from microhypervisor.devices.served import ServedDevice
from microhypervisor.devices.session import Session
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault, Refusal
from microhypervisor.events import EventLog
from microhypervisor.memory.balloon import MODEL, Balloon
from protos import core_pb2


class ServiceDirectory:
    """All service OSes and the devices that they serve."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._endpoints: dict[str, core_pb2.ServiceEndpoint] = {}
        self._sessions: dict[ServedDevice, Session] = {}
        self._balloons: dict[ServedDevice, Balloon] = {}  # those of them that are served here
        self._lock = threading.Lock()

    def connect(
        self, endpoint: core_pb2.ServiceEndpoint
    ) -> list[tuple[ServedDevice, PeerFault | None]]:
        """Attach every device of this service OS; returns each with its problem, if any."""
        known = self._endpoints.get(endpoint.name)
        if known and endpoint.epoch <= known.epoch:
            raise PeerFault(f"epoch {endpoint.epoch} is not after {known.epoch}")
        self._endpoints[endpoint.name] = endpoint
        kind, name, epoch = core_pb2.EVENT_SERVICE_CONNECTED, endpoint.name, endpoint.epoch
        self._events.emit(core_pb2.Event(kind=kind, service=name, epoch=epoch))
        with self._lock:
            devices = [d for d in self._sessions if d.config.service == endpoint.name != ""]
        if not devices:
            return []
        with ThreadPoolExecutor(min(8, len(devices))) as pool:
            problems = pool.map(lambda device: self._attach(device, endpoint), devices)
            return list(zip(devices, problems, strict=True))

    def add(self, device: ServedDevice) -> None:
        """Attach a new device; PeerFault if its service OS is not there or will not serve it."""
        endpoint = self._endpoints.get(device.config.service)
        if not device.config.service:
            problem = self._serve_here(device)
        elif endpoint:
            problem = self._attach(device, endpoint)
        else:
            missing = f"service {device.config.service} is not connected"
            raise PeerFault(missing, Refusal.NOT_CONNECTED)
        if problem:
            self.remove(device)
            raise PeerFault(f"device {device.config.name}: {problem}", problem.refusal)

    def remove(self, device: ServedDevice) -> None:
        """The device is no more."""
        with self._lock:
            session = self._sessions.pop(device, None)
            self._balloons.pop(device, None)
        if session:
            session.close()

    def epoch_of(self, device: ServedDevice) -> int | None:
        """The epoch of the incarnation that serves a device now; None if none does."""
        session = self._sessions.get(device)
        return session.epoch if session and session.attached else None

    def balloon_of(self, guest: str) -> Balloon | None:
        """The balloon of this guest, if it has one."""
        return next((b for b in self._balloons.copy().values() if b.device.guest == guest), None)

    def _serve_here(self, device: ServedDevice) -> PeerFault | None:
        """Serve a device from within the core, which has but one model."""
        if device.config.model != MODEL or not isinstance(device, VirtioDevice):
            return PeerFault(f"the core serves no {device.config.model} here: name a service OS")
        device.config.inline_payload = True
        balloon = self._balloons[device] = Balloon(device, self._balloon_changed)
        return self._attach(device, core_pb2.ServiceEndpoint(epoch=1), balloon)

    def _attach(
        self,
        device: ServedDevice,
        endpoint: core_pb2.ServiceEndpoint,
        local: Balloon | None = None,
    ) -> PeerFault | None:
        with self._lock:
            old = self._sessions.get(device)
        if old:
            old.close()
        channel = local or GrpcChannel(endpoint.address, endpoint.grant_address)
        session = Session(device, endpoint, channel, self._lost, self._replayed)
        with self._lock:
            self._sessions[device] = session
        problem = session.open()
        if not problem:
            self._emit(core_pb2.EVENT_DEVICE_ATTACHED, device, session.epoch)
        return problem

    def _lost(self, session: Session, problem: str) -> None:
        self._emit(core_pb2.EVENT_DEVICE_LOST, session.device, session.epoch, problem)

    def _replayed(self, session: Session, count: int) -> None:
        self._emit(core_pb2.EVENT_DEVICE_REPLAYED, session.device, session.epoch, count=count)

    def _balloon_changed(self, balloon: Balloon) -> None:
        text = "reached" if balloon.actual == balloon.target else "asked"
        kind = core_pb2.EVENT_BALLOON_CHANGED
        self._emit(kind, balloon.device, text=text, count=balloon.target)

    def _emit(
        self,
        kind: core_pb2.EventKind.ValueType,
        device: ServedDevice,
        epoch: int = 0,
        text: str = "",
        count: int = 0,
    ) -> None:
        event = core_pb2.Event(kind=kind, epoch=epoch, text=text, count=count)
        event.guest, event.device = device.guest, device.config.name
        event.service = device.config.service
        self._events.emit(event)
