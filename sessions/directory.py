"""Which incarnation serves which device: attaches, notices loss, attaches to the next one.

Only one incarnation of a service OS is ever known. Whoever announces the next guarantees that the
last is dead and reaped, so its sessions are closed here without asking.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import PeerFault, Refusal
from microhypervisor.events import EventLog
from microhypervisor.plugins import installed, load
from protos import core_pb2
from sessions.channel import REMOTE, RESIDENT, Channel, Open
from sessions.session import Session


class ServiceDirectory:
    """All service OSes and the devices that they serve."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._endpoints: dict[str, core_pb2.ServiceEndpoint] = {}
        self._sessions: dict[ServedDevice, Session] = {}
        self._lock = threading.Lock()

    def connect(
        self, endpoint: core_pb2.ServiceEndpoint
    ) -> list[tuple[ServedDevice, PeerFault | None]]:
        """Attach every device of this service OS; returns each with its problem, if any."""
        if not endpoint.name:
            raise PeerFault("a service OS needs a name")
        known = self._endpoints.get(endpoint.name)
        if known and endpoint.epoch <= known.epoch:
            raise PeerFault(f"epoch {endpoint.epoch} is not after {known.epoch}")
        self._endpoints[endpoint.name] = endpoint
        kind, name, epoch = core_pb2.EVENT_SERVICE_CONNECTED, endpoint.name, endpoint.epoch
        self._events.emit(core_pb2.Event(kind=kind, service=name, epoch=epoch))
        with self._lock:
            devices = [d for d in self._sessions if d.config.service == endpoint.name]
        if not devices:
            return []
        with ThreadPoolExecutor(min(8, len(devices))) as pool:
            problems = pool.map(lambda device: self._attach(device, endpoint), devices)
            return list(zip(devices, problems, strict=True))

    def add(self, device: ServedDevice) -> None:
        """Attach a new device; PeerFault if its service OS is not there or will not serve it."""
        config, endpoint = device.config, self._endpoints.get(device.config.service)
        if not config.service and config.model in installed(RESIDENT):
            config.inline_payload = True
            endpoint = core_pb2.ServiceEndpoint(epoch=1)
        if endpoint is None:
            here = f"device {config.name}: the core itself serves no {config.model}: name a service"
            missing = f"service {config.service} is not connected" if config.service else here
            raise PeerFault(missing, Refusal.NOT_CONNECTED)
        problem = self._attach(device, endpoint)
        if problem:
            self.remove(device)
            raise PeerFault(f"device {device.config.name}: {problem}", problem.refusal)

    def remove(self, device: ServedDevice) -> None:
        """The device is no more."""
        with self._lock:
            session = self._sessions.pop(device, None)
        if session:
            session.close()

    def epoch_of(self, device: ServedDevice) -> int | None:
        """The epoch of the incarnation that serves a device now; None if none does."""
        session = self._sessions.get(device)
        return session.epoch if session and session.attached else None

    def resident(self, guest: str, model: str) -> Channel | None:
        """What serves a guest's device of that model within this process, if it has one."""
        for device, session in self._sessions.copy().items():
            config = device.config
            if device.guest == guest and config.model == model and not config.service:
                return session.channel
        return None

    def _attach(self, device: ServedDevice, endpoint: core_pb2.ServiceEndpoint) -> PeerFault | None:
        with self._lock:
            old = self._sessions.get(device)
        if old:
            old.close()
        name = REMOTE if device.config.service else (RESIDENT, device.config.model)
        open_channel: Open = load(*name)
        channel = open_channel(device, endpoint, self._events)
        session = Session(device, endpoint, channel, self._lost, self._replayed)
        with self._lock:
            self._sessions[device] = session
        problem = session.open()
        if not problem:
            self._emit(core_pb2.EVENT_DEVICE_ATTACHED, session)
        return problem

    def _lost(self, session: Session, problem: str) -> None:
        self._emit(core_pb2.EVENT_DEVICE_LOST, session, problem)

    def _replayed(self, session: Session, count: int) -> None:
        self._emit(core_pb2.EVENT_DEVICE_REPLAYED, session, count=count)

    def _emit(
        self, kind: core_pb2.EventKind.ValueType, session: Session, text: str = "", count: int = 0
    ) -> None:
        device = session.device
        event = core_pb2.Event(kind=kind, epoch=session.epoch, text=text, count=count)
        event.guest, event.device = device.guest, device.config.name
        event.service = device.config.service
        self._events.emit(event)
