"""The recovery machine against a world that does its worst, in any order (Hypothesis).

The world has processes that start or die when they like, a core that answers late, and an operator.
At any time: an incarnation is connected only when all that were connected before are reaped, none
that was known to be lost is, and epochs rise. Once nobody disturbs it any more, it serves.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from splitvisor.supervisor import steps
from splitvisor.supervisor.recovery import Recovery, State
from tests.splitvisor.supervisor.script import DEVICES, MS

PATIENT = 200  # steps without faults that bring anything to its end
INDEX = st.integers(0, 7)


class World(RuleBasedStateMachine):
    """Epochs that are there, by what the machine may still hear of them."""

    @initialize(standby=st.booleans())
    def begin(self, standby):
        self.machine = Recovery("io", standby)
        self.now = MS
        self.newest = 0
        self.alive, self.listening, self.fenced, self.lost = set(), set(), set(), set()
        self.connected, self.reaped = [], set()
        self.calls = []
        self.tried = 0  # retries of the incarnation that serves without an answer
        self.hear(steps.Begin())
        self.hear(steps.Started(1, 1))
        self.hear(self.calls.pop()[1])
        self.listening.add(1)

    def hear(self, event):
        self.now += MS
        if isinstance(event, steps.Lost):
            self.lost.add(event.epoch)
        if isinstance(event, steps.Connected | steps.Retried) and event.epoch == self.connected[-1]:
            self.tried = 0
        for action in self.machine.handle(event, self.now):
            self.do(action)

    def do(self, action):
        match action:
            case steps.Launch(epoch):
                assert epoch > self.newest
                self.newest = epoch
                self.alive.add(epoch)
            case steps.Fence(epoch):
                assert epoch in self.alive
                assert epoch not in self.fenced
                self.fenced.add(epoch)
            case steps.Prepare(epoch):
                self.calls.append((epoch, steps.Prepared(epoch, len(DEVICES))))
            case steps.Connect(epoch):
                assert epoch not in self.lost | self.reaped | self.fenced
                assert self.reaped.issuperset(self.connected)
                self.connected.append(epoch)
                self.calls.append((epoch, steps.Connected(epoch, len(DEVICES))))
            case steps.Retry(epoch, devices):
                assert epoch not in self.lost
                assert epoch == self.machine.active.epoch == self.connected[-1]
                assert devices
                self.tried += 1
                assert self.tried == 1, "it is tried by two at once"
                self.calls.append((epoch, steps.Retried(epoch, devices)))
            case steps.Release(epoch):
                assert epoch not in self.lost
                self.calls.append((epoch, steps.Released(epoch)))
            case steps.GiveUp(why):
                raise AssertionError(why)

    @rule(which=INDEX)
    def starts(self, which):
        if starting := sorted(self.alive - self.listening - self.fenced):
            epoch = starting[which % len(starting)]
            self.listening.add(epoch)
            self.hear(steps.Started(epoch, epoch))

    @rule(which=INDEX, why=st.sampled_from(["", "stopped"]))
    def is_lost(self, which, why):
        if alive := sorted(self.alive):
            self.hear(steps.Lost(alive[which % len(alive)], why, dead=not why))

    @rule(which=INDEX)
    def is_reaped(self, which):
        if fenced := sorted(self.fenced):
            self.reap(fenced[which % len(fenced)])

    def reap(self, epoch):
        self.fenced.discard(epoch)
        self.alive.discard(epoch)
        self.reaped.add(epoch)
        self.hear(steps.Reaped(epoch, epoch, "signal 9 (SIGKILL)"))

    @rule(
        which=INDEX,
        well=st.booleans(),
        guilty=st.sampled_from(["", *DEVICES]),
        away=st.sets(st.sampled_from(DEVICES)),
    )
    def core_answers(self, which, well, guilty, away):
        if self.calls:
            epoch, answer = self.calls.pop(which % len(self.calls))
            if isinstance(answer, steps.Connected) and guilty and epoch in self.lost:
                answer = steps.Connected(epoch, guilty=guilty)
            elif isinstance(answer, steps.Connected) and well:
                problems = tuple(f"{device}: away" for device in sorted(away))
                answer = steps.Connected(epoch, len(DEVICES) - len(away), problems)
            elif not well:
                answer = failure(epoch, answer)
            self.hear(answer)

    @rule(device=st.sampled_from(DEVICES))
    def is_replayed(self, device):
        self.hear(steps.DeviceReplayed(self.connected[-1], device, 1, self.now))

    @rule()
    def operator_kills(self):
        if self.machine.active is not None:
            self.hear(steps.Ordered(self.machine.active.epoch))

    @rule()
    def operator_upgrades(self):
        self.hear(steps.UpgradeAsked(1))

    @rule(device=st.sampled_from(DEVICES))
    def operator_releases(self, device):
        self.hear(steps.DeviceReleaseAsked(device))

    @rule()
    @precondition(lambda self: self.machine.deadline is not None)
    def time_passes(self):
        self.now = max(self.now, self.machine.deadline)
        self.hear(steps.Tick())

    @invariant()
    def somebody_serves_or_something_is_under_way(self):
        machine = self.machine
        if machine.state is State.BACKING_OFF:
            assert machine.deadline is not None
        elif machine.state is State.FENCING:
            active = machine.active.epoch
            assert active in self.fenced or any(epoch == active for epoch, _ in self.calls)
        else:
            assert machine.active.epoch in self.alive - self.fenced

    def teardown(self):
        for _ in range(PATIENT):
            done = self.machine.state is State.SERVING and not (self.calls or self.fenced)
            if done and not self.machine.unserved.devices:
                return
            if self.calls:
                self.hear(self.calls.pop(0)[1])
            elif self.fenced:
                self.reap(min(self.fenced))
            elif self.alive - self.listening:
                self.starts(0)
            elif self.machine.state is State.REPLAYING:
                for device in DEVICES:
                    self.is_replayed(device)
            else:
                self.time_passes()
        unserved = ", ".join(self.machine.unserved.devices)
        raise AssertionError(f"it still is {self.machine.state}; not served: {unserved}")


def failure(epoch, answer):
    """What the core says instead, if it does not work."""
    match answer:
        case steps.Connected():
            return steps.ConnectFailed(epoch, "no")
        case steps.Released():
            return steps.ReleaseFailed(epoch, "no")
        case steps.Retried(_, devices):
            return steps.Retried(epoch, problems=tuple(f"{device}: no" for device in devices))
    return steps.Lost(epoch, "cannot stand by")


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
