"""The recovery machine by transcripts: poison requests and quarantine, upgrades."""

import pytest

from splitvisor.supervisor import events, steps
from splitvisor.supervisor.quarantine import MARKS, SUSPICIOUS
from splitvisor.supervisor.recovery import Recovery, State
from splitvisor.supervisor.service_status import out_since
from tests.splitvisor.supervisor.script import DEVICES, Script


@pytest.fixture
def script():
    """A service OS that serves two devices as epoch 1, with epoch 2 standing by."""
    script = Script(Recovery("io", standby=True))
    script.serve()
    script.stand_by()
    return script


@pytest.fixture
def cold():
    """One that serves two devices as epoch 1, without a standby."""
    script = Script(Recovery("io", standby=False))
    script.serve()
    return script


class TestPoison:
    def die_in_replay(self, script, guilty=""):
        """The one that is up dies in its replay; the Connect that follows in the end."""
        epoch = script.machine.active.epoch
        script.hear(steps.Lost(epoch, dead=True))
        script.hear(steps.Connected(epoch, 0, (), guilty))
        actions = script.hear(script.reaped(epoch))
        if script.machine.state is State.BACKING_OFF:
            actions = script.wait()
        (launch,) = actions
        (connect,) = script.hear(steps.Started(launch.epoch, launch.epoch))
        return connect

    def test_after_two_deaths_in_replay_devices_come_one_by_one(self, cold):
        cold.crash(1)
        cold.hear(steps.Started(2, 102))
        found = [self.die_in_replay(cold).one_by_one for _ in range(SUSPICIOUS)]
        assert found == [False] * (SUSPICIOUS - 1) + [True]

    def to_quarantine(self, cold):
        cold.crash(1)
        cold.hear(steps.Started(2, 102))
        for _ in range(SUSPICIOUS):
            self.die_in_replay(cold)
        for _ in range(MARKS - 1):
            assert self.die_in_replay(cold, DEVICES[0]).withheld == ()
        return self.die_in_replay(cold, DEVICES[0])

    def test_the_device_in_whose_replay_three_died_is_kept_away(self, cold):
        connect = self.to_quarantine(cold)
        assert connect.withheld == (DEVICES[0],)
        (fail,) = cold.done(steps.Fail)
        assert fail.device == DEVICES[0]
        assert cold.told(events.DeviceQuarantined)[0].device == DEVICES[0]
        cold.attach(connect.epoch, DEVICES[1:])
        assert cold.machine.state is State.SERVING

    def test_a_device_that_comes_through_in_between_is_not(self, cold):
        cold.crash(1)
        cold.hear(steps.Started(2, 102))
        for _ in range(SUSPICIOUS):
            self.die_in_replay(cold)
        for _ in range(MARKS * 2):
            epoch = cold.machine.active.epoch
            cold.hear(cold.replayed(epoch, DEVICES[0], 1))
            connect = self.die_in_replay(cold, DEVICES[0])
            assert (connect.one_by_one, connect.withheld) == (True, ())

    def test_an_operators_kills_are_nobodys_fault(self, cold):
        cold.crash(1)
        cold.hear(steps.Started(2, 102))
        for _ in range(SUSPICIOUS + MARKS + 1):
            cold.hear(steps.Ordered(cold.machine.active.epoch))
            assert not self.die_in_replay(cold, DEVICES[0]).one_by_one
        assert cold.done(steps.Fail) == []

    def hand_over(self, cold):
        """Up to the release of a device in quarantine and of the incarnation that serves."""
        connect = self.to_quarantine(cold)
        cold.attach(connect.epoch, DEVICES[1:])
        (launch,) = cold.hear(steps.DeviceReleaseAsked(DEVICES[0]))
        cold.hear(steps.Started(launch.epoch, 200))
        assert cold.hear(steps.Prepared(launch.epoch, 2)) == [steps.Release(connect.epoch)]
        return connect.epoch, launch.epoch

    def test_a_release_hands_over_to_an_incarnation_that_gets_it_again(self, cold):
        serving, following = self.hand_over(cold)
        cold.hear(steps.Released(serving))
        (again,) = cold.hear(cold.reaped(serving))
        assert again == steps.Connect(following, False, ())

    def test_what_cannot_be_handed_over_stays_in_quarantine(self, cold):
        serving, _ = self.hand_over(cold)
        assert cold.hear(steps.ReleaseFailed(serving, "it does not finish")) == []
        *_, told = cold.told(events.DeviceQuarantined)
        assert told.device == DEVICES[0]
        assert told.why.endswith("it could not be given back: it does not finish")
        assert list(cold.machine.quarantine.reasons) == [DEVICES[0]]
        assert cold.told(events.UpgradeFailed) == []
        assert cold.hear(steps.DeviceReleaseAsked(DEVICES[0])) == [steps.Release(serving)]

    def test_an_upgrade_that_fails_takes_no_handover_away(self, cold):
        connect = self.to_quarantine(cold)
        cold.attach(connect.epoch, DEVICES[1:])
        (launch,) = cold.hear(steps.UpgradeAsked(1))
        cold.hear(steps.DeviceReleaseAsked(DEVICES[0]))
        fence, ended = cold.hear(steps.Lost(launch.epoch, "does not start"))
        assert (fence.epoch, ended.problem) == (launch.epoch, "the new one does not start")
        (again,) = cold.hear(cold.reaped(launch.epoch))
        cold.hear(steps.Started(again.epoch, 201))
        assert cold.hear(steps.Prepared(again.epoch, 2)) == [steps.Release(connect.epoch)]

    def test_a_guest_that_is_gone_takes_its_quarantine_along(self, cold):
        connect = self.to_quarantine(cold)
        cold.attach(connect.epoch, DEVICES[1:])
        cold.hear(steps.GuestGone("we"))
        assert list(cold.machine.quarantine.reasons) == [DEVICES[0]]
        cold.hear(steps.GuestGone("web"))
        assert [told.device for told in cold.told(events.DeviceReleased)] == [DEVICES[0]]
        assert self.die_in_replay(cold).withheld == ()

    def test_nor_is_a_guest_that_is_gone_put_back(self, cold):
        serving, _ = self.hand_over(cold)
        cold.hear(steps.GuestGone("web"))
        cold.hear(steps.ReleaseFailed(serving, "it does not finish"))
        assert cold.machine.quarantine.reasons == {}


class TestUpgrade:
    def begin(self, script):
        """Up to the release, whose epoch is 1; the successor's is 3."""
        assert script.hear(steps.UpgradeAsked(1)) == [steps.Fence(2)]  # it has the old code
        assert script.hear(script.reaped(2)) == [steps.Launch(3, standby=True)]
        script.hear(steps.Started(3, 103))
        assert script.hear(steps.Prepared(3, 2)) == [steps.Release(1)]

    def test_a_fresh_incarnation_takes_over_in_order(self, script):
        self.begin(script)
        assert script.machine.state is State.RELEASING
        assert script.hear(steps.Released(1)) == [steps.Fence(1)]
        assert script.hear(script.reaped(1)) == [steps.Connect(3, False, ())]
        (ended,) = script.hear(steps.Connected(3, 2))
        assert (ended.problem, ended.outage.planned) == ("", True)
        for device in DEVICES:
            script.hear(script.replayed(3, device, 0))
        history = script.machine.history
        assert (history.deaths, history.recoveries, history.upgrades) == (0, 0, 1)
        assert script.machine.standby.epoch == 4

    def test_one_that_does_not_start_leaves_the_old_one_serving(self, script):
        script.hear(steps.UpgradeAsked(1))
        script.hear(script.reaped(2))
        actions = script.hear(steps.Lost(3, "could not start (exit status 1): x"))
        text = "the new one could not start (exit status 1): x"
        assert actions == [steps.Fence(3), steps.UpgradeEnded(1, text)]
        assert script.machine.state is State.SERVING
        assert script.told(events.UpgradeFailed)[0].why == text

    def test_one_that_cannot_open_what_is_served_leaves_the_old_one_serving(self, script):
        script.hear(steps.UpgradeAsked(1))
        script.hear(script.reaped(2))
        script.hear(steps.Started(3, 103))
        problem = f"{DEVICES[1]}: no such file"
        ended = steps.UpgradeEnded(1, f"the new one cannot open {problem}")
        assert script.hear(steps.Prepared(3, 1, (problem,))) == [ended]
        assert script.machine.state is State.SERVING
        assert script.machine.active.epoch == 1

    def test_what_the_old_one_does_not_serve_either_is_no_objection(self, cold):
        problem = f"{DEVICES[1]}: no such file"
        cold.crash(1)
        cold.hear(steps.Started(2, 102))
        cold.hear(steps.Connected(2, 1, (problem,)))
        cold.hear(cold.replayed(2, DEVICES[0], 0))
        (launch,) = cold.hear(steps.UpgradeAsked(1))
        cold.hear(steps.Started(launch.epoch, 103))
        assert cold.hear(steps.Prepared(launch.epoch, 1, (problem,))) == [steps.Release(2)]

    def test_an_old_one_that_does_not_finish_serves_on(self, script):
        self.begin(script)
        actions = script.hear(steps.ReleaseFailed(1, "it does not finish"))
        assert actions == [steps.UpgradeEnded(1, "it does not finish")]
        assert script.machine.state is State.SERVING
        assert script.machine.outage is None

    def test_a_death_of_the_old_one_is_an_ordinary_recovery_by_the_new(self, script):
        self.begin(script)
        fence, ended = script.hear(steps.Lost(1, dead=True))
        assert fence == steps.Fence(1)
        assert ended.problem
        assert script.hear(script.reaped(1)) == []
        assert script.hear(steps.ReleaseFailed(1, "died")) == [steps.Connect(3, False, ())]
        script.attach(3)
        assert script.machine.history.recoveries == 1

    def test_a_death_of_the_new_one_after_the_release_is_recovered_from(self, script):
        self.begin(script)
        script.hear(steps.Released(1))
        script.hear(script.reaped(1))
        fence, ended = script.hear(steps.Lost(3, dead=True))
        assert fence == steps.Fence(3)
        assert ended.problem
        script.hear(steps.ConnectFailed(3, "broken"))
        assert script.hear(script.reaped(3)) == [steps.Launch(4, standby=False)]

    def test_a_new_one_that_dies_before_it_is_told_is_followed_by_another_new_one(self, script):
        self.begin(script)
        script.hear(steps.Released(1))
        assert script.hear(steps.Lost(3, dead=True)) == [steps.Fence(3)]
        script.hear(script.reaped(3))
        assert script.hear(script.reaped(1)) == [steps.Launch(4, standby=False)]
        assert script.hear(steps.Started(4, 104)) == [steps.Connect(4, False, ())]
        (ended,) = script.hear(steps.Connected(4, 2))
        assert (ended.problem, ended.outage.planned) == ("", True)
        assert script.told(events.UpgradeFailed) == []

    def test_it_is_no_outage_while_who_was_released_is_killed(self, script):
        self.begin(script)
        since = [out_since(script.machine, DEVICES[0])]
        script.hear(steps.Released(1))
        since.append(out_since(script.machine, DEVICES[0]))
        script.hear(steps.Lost(3, dead=True))
        script.hear(script.reaped(3))
        since.append(out_since(script.machine, DEVICES[0]))
        assert since == [0, 0, 0]
        script.hear(script.reaped(1))  # and nobody is there to take over
        assert out_since(script.machine, DEVICES[0]) == script.now

    def test_a_second_one_at_once_is_refused(self, script):
        script.hear(steps.UpgradeAsked(1))
        (ended,) = script.hear(steps.UpgradeAsked(2))
        assert ended.number == 2
        assert "under way" in ended.problem

    def test_none_in_an_outage(self, script):
        script.hear(steps.Lost(1, dead=True))
        (ended,) = script.hear(steps.UpgradeAsked(1))
        assert ended.problem == "it is fencing: ask again in a moment"
