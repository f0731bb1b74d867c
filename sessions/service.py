"""One service OS as the core knows it: its devices, who serves each, who stands by to.

Changes are made one at a time, under `changing`, which may be held for as long as an incarnation
takes to answer. Whoever announces the next incarnation does not wait for one that is gone: what is
being done with that is ended first, so that whoever waits for its answers has none at once. In the
same way a device is removed at any time: a session is put where `remove` finds it, or is told there
that the device is gone, under a lock that is held for no answer.
"""

import threading
import time
from collections.abc import Callable
from functools import partial

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import PeerFault, Refusal
from microhypervisor.events import EventLog
from protos import core_pb2
from sessions.attachment import Attachment, Problems, close, drain
from sessions.dialogue import Kind
from sessions.session import Session
from sessions.telling import about
from sessions.turns import at_once, in_turn

CLOSING_S = 1.0  # for the drivers of a released incarnation, at least
FAILING_EPOCH = 0  # of the core itself; a service OS's is greater

Make = Callable[[ServedDevice, core_pb2.ServiceEndpoint, str], Session]


class Service:
    """All incarnations of one service OS.

    `make` gives a session with an incarnation, not yet started, `fail` one with the core itself:
    for a device, an endpoint, and the spec of the driver if it is another than the device has.
    """

    def __init__(self, name: str, events: EventLog, make: Make, fail: Make) -> None:
        self.name = name
        self.changing = threading.Lock()
        self._events = events
        self._make = make
        self._fail = fail
        self._newest = 0  # epoch that serves, or served last
        self._active: core_pb2.ServiceEndpoint | None = None
        self._standby: core_pb2.ServiceEndpoint | None = None
        self._announced: core_pb2.ServiceEndpoint | None = None  # the last to stand by
        self._attachments: dict[ServedDevice, Attachment] = {}
        self._lock = threading.RLock()  # of the attachments and epochs; held for no answer

    @property
    def attachments(self) -> list[Attachment]:
        """In the order of the devices' creation."""
        return list(self._attachments.copy().values())

    def find(self, device: ServedDevice) -> Attachment | None:
        """Of a device, if it is one of this service OS."""
        return self._attachments.get(device)

    def prepare(self, endpoint: core_pb2.ServiceEndpoint) -> Problems:
        """Open all devices there but those withheld; returns each with its problem, if any."""
        with self._lock:
            self._check(endpoint)
            self._announced = endpoint
            self._abort(lambda a: [a.standby])
        with self.changing:
            for a in self.attachments:
                close(a.standby)
            with self._lock:
                self._check(endpoint)
                if self._announced is not endpoint:
                    raise PeerFault(f"epoch {endpoint.epoch}: another one is to stand by")
                self._standby = endpoint
                wanted = [a for a in self.attachments if a.name not in endpoint.withheld]
                made = [self._stand_by(a, endpoint) for a in wanted]
            for session in made:
                session.start()
            all_opened = [(session.device, session.wait_opened()) for session in made]
            opened = [(device, problem) for device, problem in all_opened if self.find(device)]
            count = sum(not problem for _, problem in opened)
            self._tell(core_pb2.EVENT_SERVICE_PREPARED, endpoint.epoch, count)
            return opened

    def connect(self, endpoint: core_pb2.ServiceEndpoint) -> tuple[Problems, str]:
        """Have it serve all devices but those withheld; each with its problem, and the guilty."""
        epoch = endpoint.epoch
        with self._lock:
            self._check(endpoint)
            self._newest = epoch
            self._abort(lambda a: [a.active, a.standby, a.tried], below=epoch)
        with self.changing:
            if self._newest != epoch:
                raise PeerFault(f"epoch {epoch} is not after {self._newest}")
            self._active = endpoint
            if self._standby and self._standby.epoch <= epoch:
                self._standby = None
            self._tell(core_pb2.EVENT_SERVICE_CONNECTED, epoch)
            wanted = [a for a in self.attachments if a.name not in endpoint.withheld]
            for a in self.attachments:
                a.leave(epoch, a in wanted)
            promote = partial(self._promote, endpoint=endpoint)
            if endpoint.one_by_one:
                return in_turn(wanted, promote)
            return at_once(wanted, promote, partial(self._afresh, endpoint=endpoint)), ""

    def add(self, device: ServedDevice) -> None:
        """Attach a new device; PeerFault if its service OS is not there or will not serve it."""
        with self.changing:
            endpoint = self._connected()
            a = Attachment(device)
            with self._lock:
                self._attachments[device] = a
            try:
                if problem := self._promote(a, endpoint).wait_attached():
                    raise PeerFault(f"device {device.config.name}: {problem}", problem.refusal)
                if self._standby:
                    self._stand_by(a, self._standby).start(awaited=False)
            except BaseException:
                self.remove(device)
                raise

    def remove(self, device: ServedDevice) -> None:
        """The device is no more. Waits for no answer: who waits for one about it has none."""
        with self._lock:
            a = self._attachments.pop(device, None)
            sessions = a.forget() if a else []
        for session in sessions:
            session.close()

    def release(self, patience_ms: int) -> None:
        """Take every device from the incarnation that serves, or none and PeerFault if too late."""
        deadline = time.monotonic() + patience_ms / 1000
        with self.changing:
            endpoint = self._connected()
            serving = [a for a in self.attachments if a.serving]
            drain(serving, patience_ms, deadline)
            for a in self.attachments:
                a.give_up()
            epoch, self._active = endpoint.epoch, None
            ending = [(a, a.active) for a in serving if a.active]
            for _, session in ending:
                session.end()
            deadline = max(deadline, time.monotonic() + CLOSING_S)
            stuck = [a for a, s in ending if not s.join(deadline - time.monotonic())]
            for a, session in ending:
                session.close()
                a.active = None
            for a in stuck:
                self._lost(a, epoch, "its driver does not close")
            if stuck:
                text = f"device {stuck[0].name} is not closed in time: end the incarnation"
                raise PeerFault(text, Refusal.TOO_LATE)
            self._tell(core_pb2.EVENT_SERVICE_RELEASED, epoch)

    def retry(self, epoch: int, names: list[str]) -> Problems:
        """Have the incarnation that serves open anew what it does not serve, and begin with it.

        Each of these devices that there is, with its problem, if any. While they are opened nobody
        has to wait: whatever is done with a device meanwhile ends what is tried.
        """
        with self.changing:
            endpoint = self._active
            if endpoint is None or endpoint.epoch != epoch:
                raise PeerFault(f"service {self.name} is not served by epoch {epoch}")
            asked = [a for a in self.attachments if a.name in names]
            tried = [(a, session) for a in asked if (session := self._try(a, endpoint))]
        for _, session in tried:
            session.start()
        for _, session in tried:
            session.wait_opened()
        with self.changing:
            problems = {a.name: self._take_on(a, session, endpoint) for a, session in tried}
            there = [a for a in asked if self.find(a.device) is a]
            other = PeerFault("it is being tried already")
            return [(a.device, None if a.serving else problems.get(a.name) or other) for a in there]

    def swap(self, name: str, spec: str, patience_ms: int, idle: bool) -> float:
        """Have another driver serve a device from now on; for how many seconds nobody did.

        PeerFault if that cannot be, and then everything is as before. With `idle` it is not done
        while the guest uses the device.
        """
        with self.changing:
            endpoint = self._connected()
            a = self._named(name)
            session = self._try(a, endpoint, spec)
            if session is None:
                raise PeerFault(f"device {name} is being opened anew", Refusal.WRONG_STATE)
        session.start()
        session.wait_opened()
        with self.changing:
            self._take(a, session, endpoint)
            return self._switch(a, session, endpoint, patience_ms / 1000, idle)

    def fail(self, names: list[str], reason: str, unserved: bool = False) -> int:
        """Have the core fail the requests of these devices, or of all that nobody serves.

        How many they are. With `unserved`, those of `names` that are served are left alone.
        """
        with self.changing:
            away = [a for a in self.attachments if not a.serving]
            named = [self._named(name) for name in names] or away
            chosen = [a for a in named if not unserved or a in away]
            for a in chosen:
                self._serve_failures(a, reason)
            return len(chosen)

    def _check(self, endpoint: core_pb2.ServiceEndpoint) -> None:
        if endpoint.epoch <= self._newest:
            raise PeerFault(f"epoch {endpoint.epoch} is not after {self._newest}")

    def _abort(self, which: Callable[[Attachment], list[Session | None]], below: int = 0) -> None:
        """End sessions with incarnations that are no more, so that nobody waits for them."""
        for a in self._attachments.values():
            for session in which(a):
                if session and FAILING_EPOCH < session.epoch < (below or session.epoch + 1):
                    session.abort()

    def _stand_by(self, a: Attachment, endpoint: core_pb2.ServiceEndpoint) -> Session:
        with self._lock:
            session = a.standby = self._make(a.device, endpoint, "")
            if a.gone:
                session.abort()
            return session

    def _put(self, a: Attachment, session: Session, failing: str = "") -> bool:
        """Have it be the one that serves; False, and it is over, if the device is gone."""
        with self._lock:
            a.active, a.failing = session, failing
            if a.gone:
                session.abort()
            return not a.gone

    def _promote(self, a: Attachment, endpoint: core_pb2.ServiceEndpoint) -> Session:
        """The session that was opened before, or a new one; begun in any case."""
        ready = a.standby
        if ready and ready.epoch == endpoint.epoch:
            with self._lock:
                a.active, a.standby = ready, None
            if ready.begin(endpoint.one_by_one):
                return ready
            ready.close()
        return self._afresh(a, endpoint)

    def _afresh(self, a: Attachment, endpoint: core_pb2.ServiceEndpoint) -> Session:
        session = self._make(a.device, endpoint, "")
        if self._put(a, session):
            session.begin(endpoint.one_by_one)
        session.start()
        return session

    def _try(
        self, a: Attachment, endpoint: core_pb2.ServiceEndpoint, spec: str = ""
    ) -> Session | None:
        """A session to open a device with, not started; None if there is no need, or one already.

        There is need if it is not served, or is to be by another driver.
        """
        with self._lock:
            if (a.serving and not spec) or a.tried or a.gone or self._newest != endpoint.epoch:
                return None
            a.tried = self._make(a.device, endpoint, spec)
            return a.tried

    def _take(self, a: Attachment, session: Session, endpoint: core_pb2.ServiceEndpoint) -> None:
        """A device was opened anew: PeerFault if it was not, or if something came in between."""
        with self._lock:
            if a.tried is not session or self._newest != endpoint.epoch:
                session.abort()
                meanwhile = PeerFault("something else was done with it meanwhile")
                raise session.problem or meanwhile
            a.tried = None
            if session.problem:
                raise session.problem

    def _take_on(
        self, a: Attachment, session: Session, endpoint: core_pb2.ServiceEndpoint
    ) -> PeerFault | None:
        """Begin with a device that was opened, if nothing came in between; why it is not served."""
        try:
            self._take(a, session, endpoint)
        except PeerFault as problem:
            return problem
        return self._begin(a, session)

    def _begin(self, a: Attachment, session: Session) -> PeerFault | None:
        before, failing = a.active, a.failing
        with self._lock:  # whoever comes in between finds one or the other
            if before and before is not session:  # a swap may have begun it already
                before.leave()
            there = self._put(a, session)
        if not there:
            return PeerFault(f"device {a.name} is no more", Refusal.NOT_FOUND)
        session.begin()
        problem = session.wait_attached()
        if problem and failing:
            self._serve_failures(a, failing, again=True)
        return problem

    def _switch(
        self,
        a: Attachment,
        session: Session,
        endpoint: core_pb2.ServiceEndpoint,
        patience_s: float,
        idle: bool,
    ) -> float:
        """From what serves a device to a session of the same incarnation that is open."""
        began, old = time.monotonic(), a.serving
        try:
            if old:
                self._hand_over(a, old, session, patience_s, idle)
        except PeerFault:
            session.close()
            if session.served:  # its driver may have been written to
                self._switched(a, session)
            raise
        if problem := self._begin(a, session):
            if session.served:  # at the very last moment
                self._switched(a, session)
                self._lost(a, endpoint.epoch, "its new driver was given up when it began")
            elif (
                old and self._newest == endpoint.epoch and self._afresh(a, endpoint).wait_attached()
            ):
                self._lost(a, endpoint.epoch, "neither its new driver begins nor its old one")
            raise problem
        waited = time.monotonic() - began
        self._switched(a, session)
        return waited

    def _switched(self, a: Attachment, session: Session) -> None:
        """From now on the device has this driver, also at who stands by."""
        a.device.config.spec = session.dialogue.spec
        if self._standby:
            if a.standby:
                a.standby.leave()
            self._stand_by(a, self._standby).start(awaited=False)

    def _hand_over(
        self, a: Attachment, old: Session, new: Session, patience_s: float, idle: bool
    ) -> None:
        """Have `old` finish and close its driver; PeerFault if it does not, and then it goes on.

        Where no state goes from one to the other, `new` is told to begin without a wait for that:
        an incarnation begins with a device on one stream when it has closed it on the other.
        """
        drain([a], round(patience_s * 1000), time.monotonic() + patience_s)
        if idle and a.device.in_use:
            a.device.hold(False)
            text = f"guest {a.device.guest} uses device {a.device.config.name}"
            raise PeerFault(text, Refusal.WRONG_STATE)
        old.end()
        if not a.device.state and old.wait_said(CLOSING_S):
            new.behind = old
            if self._put(a, new):
                new.begin()
        if not old.join(CLOSING_S):
            self._lost(a, old.epoch, "its driver does not close")
            text = f"device {a.name} is not closed in time: its service OS is replaced"
            raise PeerFault(text, Refusal.TOO_LATE)

    def _lost(self, a: Attachment, epoch: int, why: str) -> None:
        if not a.gone:
            self._events.emit(about(core_pb2.EVENT_DEVICE_LOST, a.device, epoch, why))

    def _connected(self) -> core_pb2.ServiceEndpoint:
        if self._active is None:
            missing = f"service {self.name} is not connected"
            raise PeerFault(missing, Refusal.NOT_CONNECTED)
        return self._active

    def _named(self, name: str) -> Attachment:
        known = {a.name: a for a in self.attachments}
        if name not in known:
            text = f"service {self.name} has no device {name}"
            raise PeerFault(text, Refusal.NOT_FOUND)
        return known[name]

    def _serve_failures(self, a: Attachment, reason: str, again: bool = False) -> None:
        if a.failing:
            a.failing = reason
            return
        session = self._fail(a.device, core_pb2.ServiceEndpoint(epoch=FAILING_EPOCH), "")
        close(a.active)
        if self._put(a, session, reason):
            session.begin()
        session.start(window=False)
        problem = session.wait_attached()
        if a.gone:
            return
        if problem:
            raise problem
        if not again:
            self._events.emit(about(core_pb2.EVENT_DEVICE_FAILING, a.device, 0, reason))

    def _tell(self, kind: Kind, epoch: int, count: int = 0) -> None:
        event = core_pb2.Event(kind=kind, service=self.name, epoch=epoch, count=count)
        self._events.emit(event)
