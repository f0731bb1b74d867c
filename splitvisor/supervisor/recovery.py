"""The recovery of one service OS as a state machine: no processes, clocks or gRPC in it.

Its states are those of `states.py`. Rules: the core is told of an incarnation only when each one it
was told of before is reaped; epochs rise; one that was lost never takes over. An incarnation that
dies with its replay undone may have been killed by a request: after two in a row the devices are
begun one by one, and a device in whose replay three in a row died is put in quarantine. A device
that could not be attached is tried again while the others are served. (One table of states is read
as one: that is why this file is a little longer than others.)
"""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from splitvisor.supervisor import events, steps
from splitvisor.supervisor.backoff import FREE, Backoff
from splitvisor.supervisor.incarnation import Incarnation, Standby
from splitvisor.supervisor.outage import DIED, History, Outage
from splitvisor.supervisor.quarantine import Quarantine
from splitvisor.supervisor.standby_trouble import StandbyTrouble
from splitvisor.supervisor.states import SETTLED, State
from splitvisor.supervisor.unserved import Unserved

MS = 1_000_000
QUICK = 100 * MS  # who dies after serving for less has failed
REFILL_LATEST = 100 * MS  # after a promotion, if the replay takes that long
FIRST_REFILL = 300 * MS  # after the very first: guests that start need the processors
STANDBY_PATIENCE = 3_000 * MS  # for a standby that is needed and not ready yet


class Recovery:
    """Hears what happens (`handle`), says what to do; hears Tick when `deadline` has come."""

    def __init__(self, service: str, standby: bool) -> None:
        self.service = service
        self.state = State.STARTING
        self.active: Incarnation | None = None  # that serves, is to, or did and is not reaped
        self.standby: Incarnation | None = None
        self.quarantine = Quarantine()
        self.unserved = Unserved(service)
        self.trouble = StandbyTrouble()
        self.served = False  # ever
        self.history = History()
        self._keeps_standby = standby
        self._epoch = 0
        # That stood by and are not reaped yet: why, but for those that were not needed any more.
        self._dying: dict[int, str | None] = {}
        self._until: int | None = None  # of STARTING and BACKING_OFF
        self._refill_at = 0
        self._handover = False  # the standby is to take over as soon as it is ready
        self._returning: dict[str, str] = {}  # devices that it is to have again: why they had not
        self._upgrading: int | None = None  # the number of the upgrade
        self._backoff = Backoff()
        self._actions: list[steps.Action] = []
        self._now = 0
        self._hear: dict[type, Callable[..., None]] = {
            steps.Begin: self._begin,
            steps.Started: self._started,
            steps.Prepared: self._prepared,
            steps.Connected: self._connected,
            steps.ConnectFailed: self._connect_failed,
            steps.Released: self._released,
            steps.ReleaseFailed: self._release_failed,
            steps.Retried: self._retried,
            steps.Lost: self._lost,
            steps.Reaped: self._reaped,
            steps.Ordered: self._ordered,
            **dict.fromkeys(get_args(steps.DeviceEvent), self._devices),
            steps.UpgradeAsked: self._upgrade_asked,
            steps.DeviceReleaseAsked: self._device_release_asked,
            steps.Tick: lambda _: None,
        }

    @property
    def outage(self) -> Outage | None:
        """The outage under way."""
        return self.history.outage

    @property
    def deadline(self) -> int | None:
        """When something is to be done though nothing happens; None if never."""
        refill = self._refill_at if self._may_refill() else None
        retry = self.unserved.deadline if self.state in SETTLED else None
        return min((t for t in (self._until, refill, retry) if t is not None), default=None)

    def handle(self, event: steps.Event, now: int) -> list[steps.Action]:
        """What to do, what is urgent first."""
        self._now, self._actions = now, []
        self._hear[type(event)](event)
        self._advance()
        return sorted(self._actions, key=lambda action: isinstance(action, steps.Tell))

    def _advance(self) -> None:
        """Do what is due."""
        if self._until is not None and self._now >= self._until:
            self._until = None
            if self.state is State.BACKING_OFF:
                self.history.waited(self._now)
                self._take_over()
            elif self.active is not None:
                self._lose_active("was not ready in time", dead=False)
        active, standby = self.active, self.standby
        late = self.unserved.devices.keys()
        if self.state is State.REPLAYING and active and active.all_replayed(late):
            self._recovered(active)
        if active and self.state in SETTLED and (due := self.unserved.due(self._now)):
            self._do(steps.Retry(active.epoch, due))
        if self._may_refill() and self._now >= self._refill_at:
            self.standby = self._launch(standby=True)
        ready = standby is not None and standby.phase is Standby.READY
        if self._handover and ready and active and self.state is State.SERVING:
            self.state, self._handover, active.calling = State.RELEASING, False, True
            self.history.begin("planned", self._now, planned=True)
            self._do(steps.Release(active.epoch))

    def _may_refill(self) -> bool:
        wanted = self._keeps_standby or self._handover
        return wanted and self.state in SETTLED and self.standby is None and not self._dying

    # Incarnations come up.

    def _begin(self, _: steps.Begin) -> None:
        self.active = self._launch(standby=False)

    def _launch(self, *, standby: bool) -> Incarnation:
        self._epoch += 1
        self._do(steps.Launch(self._epoch, standby))
        return Incarnation(self._epoch)

    def _started(self, event: steps.Started) -> None:
        incarnation = self._known(event.epoch)
        if incarnation is None:
            return
        incarnation.pid = event.pid
        standby = incarnation is self.standby
        if not (standby and self.trouble.repeated):
            self._tell(events.ServiceStarted(self.service, event.pid, event.epoch, standby))
        if standby:
            incarnation.phase = Standby.PREPARING
            self._do(steps.Prepare(event.epoch))
        elif self.state is State.STARTING:
            self._promote(incarnation)

    def _prepared(self, event: steps.Prepared) -> None:
        incarnation = self._known(event.epoch)
        if incarnation is None:
            return
        incarnation.phase, incarnation.since = Standby.READY, self._now
        self.trouble.over()
        told = (incarnation.pid, incarnation.epoch, event.devices, event.problems)
        self._tell(events.ServiceStandsBy(self.service, *told))
        if incarnation is self.active and self.state is State.STARTING:
            self._promote(incarnation)
        elif self._upgrading is not None and (
            worse := self.unserved.worse(event.problems, self.quarantine.reasons)
        ):
            self._end_upgrade(f"the new one cannot open {worse}")

    def _promote(self, incarnation: Incarnation) -> None:
        one_by_one, warm = self.quarantine.suspicious, incarnation.phase is Standby.READY
        self.state, self._until, self._handover = State.PROMOTING, None, False
        self._returning.clear()
        incarnation.begun = incarnation.calling = True
        self._do(steps.Connect(incarnation.epoch, one_by_one, tuple(self.quarantine.reasons)))
        self.history.promoted(self._now, warm)
        pid, epoch = incarnation.pid, incarnation.epoch
        self._tell(events.ServicePromoted(self.service, pid, epoch, warm, one_by_one))

    def _connected(self, event: steps.Connected) -> None:
        if event.guilty and self.active is not None and self.active.ordered is None:
            self._blame(event.guilty)
        incarnation = self._answered(event.epoch)
        if incarnation is None:
            return
        if event.guilty:
            self._lose_active(f"was lost in the turn of {event.guilty}", dead=False)
        else:
            self.served, self.state = True, State.REPLAYING
            incarnation.devices = 0 if incarnation.missed else event.devices
            self._refill_at = self._now + REFILL_LATEST
            self.history.attached(self._now)
            told = (incarnation.pid, incarnation.epoch, event.devices, event.problems)
            self._tell(events.ServiceAttached(self.service, *told))
            problems = [p for p in event.problems if p.partition("/")[0] not in incarnation.absent]
            since = self._now if self.outage is None else self.outage.detected
            self._tell(*self.unserved.attached(problems, since, self._now))
            if self._upgrading is not None and self.outage is not None:
                self._end_upgrade("", replace(self.outage))

    def _connect_failed(self, event: steps.ConnectFailed) -> None:
        if self._answered(event.epoch) is not None:
            self._lose_active(event.why, dead=False)

    def _recovered(self, active: Incarnation) -> None:
        first = self.outage is None and self._backoff.row == 0 and active.epoch == 1
        self.state, active.since, active.finished = State.SERVING, self._now, True
        self.quarantine.all_replayed()
        self._refill_at = self._now + FIRST_REFILL * first
        outage = self.history.end(active.last_attach, active.last_replay)
        if outage is None:
            return
        told = (active.pid, active.epoch, active.devices, self.unserved.problems(), outage)
        self._tell(events.ServiceRecovered(self.service, *told))

    # Incarnations go down.

    def _lost(self, event: steps.Lost) -> None:
        if self.active is not None and self.active.epoch == event.epoch:
            self._lose_active(event.why, event.dead)
        elif self.standby is not None and self.standby.epoch == event.epoch:
            self._lose_standby(self.standby, event.why)

    def _lose_active(self, why: str, dead: bool) -> None:
        active, was = self.active, self.state
        if active is None or was is State.FENCING:
            return
        self.state, self._until = State.FENCING, None
        active.lost, active.why = self._now, why
        self._do(steps.Fence(active.epoch))
        if self._upgrading is not None:
            self._end_upgrade("a service OS died in the middle of it")
        if was is State.RELEASING:
            self.history.drop()
        if was is State.STARTING or not self.served or self.outage is not None:
            problem = why or ("died before all was replayed" if active.begun else "died")
            active.why = problem
            self._tell(events.ServiceFailed(self.service, active.epoch, problem))
            self.history.unplanned()
            return
        self.history.begin(why or DIED, self._now, killed=active.ordered or 0)
        if not dead:
            self._tell(events.ServiceSuspected(self.service, active.pid, active.epoch, why))
        self._tell(events.ServiceDetected(self.service, active.pid, active.epoch, why or DIED))

    def _lose_standby(self, standby: Incarnation, why: str) -> None:
        if standby.since and self._now - standby.since >= QUICK:
            self.trouble.stood_long()
        delay = 0 if standby.ordered is not None else self.trouble.failed()
        self._drop_standby(standby, self._now + delay)
        self._dying[standby.epoch] = why
        released = self.active is not None and self.active.released
        as_new = released or self.state is State.RELEASING  # will be the one that follows instead
        if self._upgrading is not None and not as_new:
            self._end_upgrade(f"the new one {why or DIED}")

    def _drop_standby(self, standby: Incarnation, refill_at: int) -> None:
        self._dying[standby.epoch] = None
        self._do(steps.Fence(standby.epoch))
        self.standby, self._refill_at = None, refill_at

    def _reaped(self, event: steps.Reaped) -> None:
        if why := self._why_no_standby(event):
            if self.trouble.is_news(why):
                told = (event.pid, event.epoch, why)
                self._tell(events.ServiceStandbyLost(self.service, *told))
            self.trouble.note(why)
        self._dying.pop(event.epoch, None)
        active = self.active
        if active is None or active.epoch != event.epoch or self.state is not State.FENCING:
            return
        active.reaped = True
        active.delay = 0 if active.released else self._mourn(active, event)
        self.history.fenced(self._now, event.how)
        if not self.served and self._hopeless(active, event):
            self._do(steps.GiveUp(active.why))
            return
        delay = active.delay / 1e9
        self._tell(events.ServiceDied(self.service, event.pid, event.epoch, event.how, delay))
        self._fenced(active)

    def is_news(self, event: steps.Reaped) -> bool:
        """Whether that it is dead tells anybody anything new; to be asked before `handle`."""
        why = self._why_no_standby(event)
        return not why or self.trouble.is_news(why)

    def _why_no_standby(self, event: steps.Reaped) -> str:
        """What became of one that was to stand by; empty if it was not, or is not needed."""
        why = self._dying.get(event.epoch)
        return "" if why is None else why or f"died: {event.how}"

    def _mourn(self, active: Incarnation, event: steps.Reaped) -> int:
        """Count the death; how long to wait before the next one serves."""
        self.history.died(event.how)
        if active.ordered is not None:
            return 0
        if active.begun and not active.finished:
            self.quarantine.died_undone()
        if active.finished and (active.lost or 0) - active.since >= QUICK:
            self._backoff.succeeded()
            return 0
        return self._backoff.failed()

    def _hopeless(self, active: Incarnation, event: steps.Reaped) -> bool:
        return self._backoff.row > FREE or not (event.killed or active.begun)

    def _fenced(self, active: Incarnation) -> None:
        if active.calling or not active.reaped:
            return
        self.active = None
        if active.delay:
            self.state, self._until = State.BACKING_OFF, self._now + active.delay
        else:
            self._take_over()

    def _take_over(self) -> None:
        self.state = State.STARTING
        if self.standby is None:
            self.active = self._launch(standby=False)
            return
        self.active, self.standby = self.standby, None
        if self.active.phase is Standby.READY:
            self._promote(self.active)
        else:
            self._until = self._now + STANDBY_PATIENCE

    def _ordered(self, event: steps.Ordered) -> None:
        incarnation = self._known(event.epoch)
        if incarnation is not None:
            incarnation.ordered = self._now

    # Devices.

    def _devices(self, event: steps.DeviceEvent) -> None:
        active = self.active
        if isinstance(event, steps.GuestGone):
            self.unserved.gone(event.guest, self._now)
            self._forget_guest(event.guest)
        if active is None or getattr(event, "epoch", active.epoch) != active.epoch:
            return
        match event:
            case steps.DeviceAttached(_, device, at):
                active.attached.add(device)
                active.last_attach = max(active.last_attach, at)
            case steps.DeviceReplayed(_, device, count, at):
                self.quarantine.replayed(device)
                self.history.replayed(count)
                active.replayed.add(device)
                active.last_replay = max(active.last_replay, at)
            case steps.DeviceResumed(_, at):
                self.history.resumed(at)
            case steps.GuestGone(guest):
                active.gone(guest)
            case steps.EventsMissed():
                active.devices, active.missed = 0, True

    def _blame(self, device: str) -> None:
        if reason := self.quarantine.blame(device):
            self.unserved.drop(device, self._now)
            self._do(steps.Fail(device, reason))
            self._tell(events.DeviceQuarantined(self.service, device, reason))

    def _retried(self, event: steps.Retried) -> None:
        active = self.active
        if active is None or active.epoch != event.epoch:
            return
        told = self.unserved.answered(event.served, event.problems, self._now)
        active.devices += len(told)
        self._tell(*told)

    # Planned replacement.

    def _upgrade_asked(self, event: steps.UpgradeAsked) -> None:
        if self._upgrading is not None:
            self._do(steps.UpgradeEnded(event.number, "another upgrade is under way"))
        elif self.state not in SETTLED:
            why = f"it is {self.state}: ask again in a moment"
            self._do(steps.UpgradeEnded(event.number, why))
        else:
            self._upgrading, self._handover = event.number, True
            self._refill_at = self._now
            self._tell(events.UpgradeBegun(self.service))
            if self.standby is not None:  # it has the old code
                self._drop_standby(self.standby, self._now)

    def _device_release_asked(self, event: steps.DeviceReleaseAsked) -> None:
        if reason := self.quarantine.release(event.device):
            self._tell(events.DeviceReleased(self.service, event.device))
            self._returning[event.device] = reason
            if self.state in (State.PROMOTING, *SETTLED):
                self._handover = True

    def _forget_guest(self, guest: str) -> None:
        """Its devices are no more; who has its name next begins anew."""
        for device in self.quarantine.gone(guest):
            self._tell(events.DeviceReleased(self.service, device))
        mine = f"{guest}/"
        self._returning = {d: r for d, r in self._returning.items() if not d.startswith(mine)}

    def _released(self, event: steps.Released) -> None:
        active = self._answered(event.epoch)
        if active is None:
            return
        active.released, active.lost, self.state = True, self._now, State.FENCING
        self._do(steps.Fence(active.epoch))
        for device in list(self.quarantine.reasons) if self._upgrading is not None else ():
            self.quarantine.release(device)
            self._tell(events.DeviceReleased(self.service, device))

    def _release_failed(self, event: steps.ReleaseFailed) -> None:
        if self._answered(event.epoch) is not None:
            self.state = State.SERVING
            self.history.drop()
            for device, reason in self._returning.items():  # the core still fails its requests
                self.quarantine.reasons[device] = reason
                why = f"{reason}; it could not be given back: {event.why}"
                self._tell(events.DeviceQuarantined(self.service, device, why))
            self._returning.clear()
            self._end_upgrade(event.why)

    def _end_upgrade(self, problem: str, outage: Outage | None = None) -> None:
        asked, self._upgrading = self._upgrading, None
        self._handover = bool(self._returning)
        if asked is None:
            return
        if problem:
            self._tell(events.UpgradeFailed(self.service, problem))
        self._do(steps.UpgradeEnded(asked, problem, outage))

    def _known(self, epoch: int) -> Incarnation | None:
        """The incarnation of that epoch, unless it is lost."""
        if self.standby is not None and self.standby.epoch == epoch:
            return self.standby
        active = self.active
        return active if active and active.epoch == epoch and active.lost is None else None

    def _answered(self, epoch: int) -> Incarnation | None:
        """The one for whose call this is the answer; if it was lost, the fence waited for it."""
        active = self.active
        if active is None or active.epoch != epoch or not active.calling:
            return None
        active.calling = False
        if active.lost is None:
            return active
        self._fenced(active)
        return None

    def _do(self, action: steps.Action) -> None:
        self._actions.append(action)

    def _tell(self, *told: events.ServiceEvent) -> None:
        self._actions += map(steps.Tell, told)
