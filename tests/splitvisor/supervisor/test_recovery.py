"""The recovery machine by transcripts: what is heard, what is to be done, in which state it is."""

import pytest

from splitvisor.supervisor import events, steps
from splitvisor.supervisor.backoff import FIRST_DELAY, FREE
from splitvisor.supervisor.recovery import (
    FIRST_REFILL,
    QUICK,
    REFILL_LATEST,
    STANDBY_PATIENCE,
    Recovery,
    State,
)
from tests.splitvisor.supervisor.script import DEVICES, MS, Script


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


def test_the_first_incarnation_comes_up_and_a_standby_after_a_while():
    script = Script(Recovery("io", standby=True))
    assert script.hear(steps.Begin()) == [steps.Launch(1, standby=False)]
    assert script.hear(steps.Started(1, 101)) == [steps.Connect(1, False, ())]
    assert script.machine.state is State.PROMOTING
    assert script.hear(steps.Connected(1)) == []
    assert script.machine.state is State.SERVING
    assert script.machine.deadline == script.now + FIRST_REFILL
    assert script.wait() == [steps.Launch(2, standby=True)]
    assert script.hear(steps.Started(2, 102)) == [steps.Prepare(2)]
    assert script.hear(steps.Prepared(2, 2)) == []
    assert script.machine.deadline is None


def test_a_standby_takes_over_as_soon_as_the_dead_one_is_reaped(script):
    assert script.hear(steps.Lost(1, dead=True)) == [steps.Fence(1)]
    assert script.machine.state is State.FENCING
    assert script.hear(script.reaped(1)) == [steps.Connect(2, False, ())]
    script.hear(steps.Connected(2, 2))
    assert script.machine.state is State.REPLAYING
    assert script.hear(script.replayed(2, DEVICES[0], 7)) == []
    assert script.hear(script.replayed(2, DEVICES[1], 0)) == [steps.Launch(3, standby=True)]
    assert script.machine.state is State.SERVING
    (told,) = script.told(events.ServiceRecovered)
    outage = told.outage
    assert (outage.cause, outage.requests, outage.warm) == ("died by signal 9 (SIGKILL)", 7, True)
    moments = (outage.detected, outage.fenced, outage.promoted, outage.attached, outage.replayed)
    assert list(moments) == sorted(moments)
    assert 0 not in moments
    assert script.machine.history.recoveries == 1


def test_commands_come_before_words(script):
    script.hear(steps.Lost(1, dead=True))
    actions = script.machine.handle(script.reaped(1), script.now)
    assert isinstance(actions[0], steps.Connect)
    assert all(isinstance(action, steps.Tell) for action in actions[1:])


def test_without_a_standby_the_next_one_is_started_cold(cold):
    cold.hear(steps.Lost(1, dead=True))
    assert cold.hear(cold.reaped(1)) == [steps.Launch(2, standby=False)]
    assert cold.machine.state is State.STARTING
    assert cold.hear(steps.Started(2, 102)) == [steps.Connect(2, False, ())]
    cold.attach(2)
    assert cold.machine.state is State.SERVING
    assert cold.told(events.ServiceRecovered)[0].outage.warm is False
    assert cold.machine.deadline is None


def test_a_standby_that_is_being_prepared_is_waited_for(cold):
    script = Script(Recovery("io", standby=True))
    script.serve()
    script.wait()
    script.hear(steps.Started(2, 102))
    script.hear(steps.Lost(1, dead=True))
    assert script.hear(script.reaped(1)) == []
    assert script.machine.state is State.STARTING
    assert script.hear(steps.Prepared(2, 2)) == [steps.Connect(2, False, ())]


def test_a_standby_that_is_starting_is_connected_without_being_prepared():
    script = Script(Recovery("io", standby=True))
    script.serve()
    script.wait()
    script.hear(steps.Lost(1, dead=True))
    script.hear(script.reaped(1))
    assert script.hear(steps.Started(2, 102)) == [steps.Connect(2, False, ())]


def test_a_standby_that_hangs_is_not_waited_for_for_ever():
    script = Script(Recovery("io", standby=True))
    script.serve()
    script.wait()
    script.hear(steps.Started(2, 102))
    script.hear(steps.Lost(1, dead=True))
    script.hear(script.reaped(1))
    assert script.machine.deadline == script.now + STANDBY_PATIENCE
    assert script.wait() == [steps.Fence(2)]
    assert script.hear(script.reaped(2)) == [steps.Launch(3, standby=False)]


def test_active_and_standby_die_together(script):
    assert script.hear(steps.Lost(2, dead=True)) == [steps.Fence(2)]
    assert script.hear(steps.Lost(1, dead=True)) == [steps.Fence(1)]
    assert script.hear(script.reaped(1)) == [steps.Launch(3, standby=False)]
    assert script.hear(script.reaped(2)) == []
    assert script.hear(steps.Started(3, 103)) == [steps.Connect(3, False, ())]


def test_a_standby_that_dies_while_the_other_is_fenced_does_not_take_over(script):
    script.hear(steps.Lost(1, dead=True))
    script.hear(steps.Lost(2, "its stream broke"))
    assert script.hear(script.reaped(1)) == [steps.Launch(3, standby=False)]


def test_a_death_in_promotion_waits_for_the_fence_and_for_the_cores_answer(script):
    script.hear(steps.Lost(1, dead=True))
    script.hear(script.reaped(1))
    assert script.hear(steps.Lost(2, dead=True)) == [steps.Fence(2)]
    assert script.hear(script.reaped(2)) == []
    assert script.hear(steps.ConnectFailed(2, "broken")) == [steps.Launch(3, standby=False)]
    script.hear(steps.Started(3, 103))
    script.attach(3)
    (told,) = script.told(events.ServiceRecovered)
    assert told.epoch == 3
    assert told.outage.cause == "died by signal 9 (SIGKILL)"
    assert script.machine.history.deaths == 2


def test_a_core_that_refuses_is_followed_by_another_incarnation(script):
    script.hear(steps.Lost(1, dead=True))
    script.hear(script.reaped(1))
    assert script.hear(steps.ConnectFailed(2, "was refused")) == [steps.Fence(2)]
    assert script.hear(script.reaped(2)) == [steps.Launch(3, standby=False)]


def test_a_lost_standby_is_replaced_and_nobody_serves_less_for_it(script):
    assert script.hear(steps.Lost(2, "stopped")) == [steps.Fence(2)]
    assert script.machine.state is State.SERVING
    assert script.machine.outage is None
    assert script.hear(script.reaped(2)) == [steps.Launch(3, standby=True)]
    assert script.told(events.ServiceStandbyLost)[0].why == "stopped"
    assert script.machine.history.deaths == 0


def test_each_reason_why_nobody_stands_by_is_told_once_until_somebody_does(script):
    def lose(epoch, why):
        script.hear(steps.Lost(epoch, why))
        news = script.machine.is_news(script.reaped(epoch))
        before = len(script.told(events.ServiceStandbyLost))
        script.hear(script.reaped(epoch))
        assert (len(script.told(events.ServiceStandbyLost)) > before) == news
        while script.done(steps.Launch)[-1].epoch == epoch:
            script.wait()
        script.hear(steps.Started(epoch + 1, epoch + 101))
        return news

    assert [lose(2, "x"), lose(3, "x"), lose(4, "y"), lose(5, "x")] == [True, False, True, False]
    assert script.machine.trouble.problem == "x"
    started = [event.epoch for event in script.told(events.ServiceStarted)]
    assert started == [1, 2, 3, 5]
    script.hear(steps.Prepared(6, 2))
    assert script.machine.trouble.problem == ""
    assert lose(6, "x")


def test_a_standby_that_dies_again_and_again_is_started_ever_later(script):
    epoch, waits = 2, []
    for _ in range(FREE + 2):
        script.hear(steps.Lost(epoch, dead=True))
        script.hear(script.reaped(epoch))
        deadline = script.machine.deadline
        waits.append(deadline - script.now + MS if deadline else 0)  # since it was lost
        if waits[-1]:
            script.wait()
        epoch += 1
        script.hear(steps.Started(epoch, epoch))
    assert waits == [0] * FREE + [FIRST_DELAY, 2 * FIRST_DELAY]


def test_a_refill_does_not_wait_for_a_slow_replay_for_ever(script):
    script.hear(steps.Lost(1, dead=True))
    script.hear(script.reaped(1))
    script.hear(steps.Connected(2, 2))
    assert script.machine.deadline == script.now + REFILL_LATEST
    assert script.wait() == [steps.Launch(3, standby=True)]
    assert script.machine.state is State.REPLAYING


def test_what_is_suspected_is_killed_and_the_reason_is_the_outages(script):
    assert script.hear(steps.Lost(1, "stopped")) == [steps.Fence(1)]
    assert script.told(events.ServiceSuspected)[0].why == "stopped"
    script.hear(script.reaped(1))
    script.attach(2)
    assert script.told(events.ServiceRecovered)[0].outage.cause == "stopped"


def test_one_death_is_told_once_however_often_it_is_noticed(script):
    assert script.hear(steps.Lost(1, "a stream broke")) == [steps.Fence(1)]
    assert script.hear(steps.Lost(1, dead=True)) == []
    assert len(script.told(events.ServiceDetected)) == 1


def test_the_moment_of_an_operators_kill_is_kept(script):
    script.hear(steps.Ordered(1))
    ordered = script.now
    script.hear(steps.Lost(1, dead=True))
    assert script.machine.outage.killed == ordered < script.machine.outage.detected


def test_quick_deaths_in_a_row_back_off_and_a_long_life_ends_the_row(cold):
    waits = []
    for epoch in range(1, FREE + 4):
        cold.crash(epoch)
        waits.append((cold.machine.deadline or cold.now) - cold.now)
        if waits[-1]:
            assert cold.machine.state is State.BACKING_OFF
            cold.wait()
        cold.hear(steps.Started(epoch + 1, epoch))
        cold.attach(epoch + 1)
        steps_ms = cold.machine.history.last.steps_ms()
        assert (steps_ms["fence"], steps_ms.get("retry", 0)) == (1, waits[-1] / MS)
    assert waits == [0] * FREE + [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    cold.now += QUICK
    cold.crash(FREE + 4)
    assert cold.machine.state is State.STARTING


def test_a_guest_that_is_gone_owes_no_replay(script):
    script.hear(steps.Lost(1, dead=True))
    script.hear(script.reaped(1))
    script.hear(steps.Connected(2, 2))
    for device in DEVICES:
        script.hear(steps.DeviceAttached(2, device))
    script.hear(steps.GuestGone("we"))
    assert script.machine.state is State.REPLAYING
    script.hear(steps.GuestGone("web"))
    assert script.machine.state is State.SERVING


def test_events_that_were_missed_do_not_leave_it_waiting(script):
    script.hear(steps.Lost(1, dead=True))
    script.hear(script.reaped(1))
    script.hear(steps.Connected(2, 2))
    script.hear(steps.EventsMissed())
    assert script.machine.state is State.SERVING


class TestFirstStart:
    def test_what_cannot_start_by_its_own_word_ends_the_machine(self):
        script = Script(Recovery("io", standby=True))
        script.hear(steps.Begin())
        script.hear(steps.Lost(1, "could not start (exit status 2): x"))
        reaped = steps.Reaped(1, 101, "exit status 2", killed=False)
        assert script.hear(reaped) == [steps.GiveUp("could not start (exit status 2): x")]

    def test_what_is_killed_is_tried_a_few_times(self):
        script = Script(Recovery("io", standby=True))
        script.hear(steps.Begin())
        for epoch in range(1, FREE + 1):
            script.hear(steps.Lost(epoch, "could not start"))
            assert script.hear(script.reaped(epoch)) == [steps.Launch(epoch + 1, standby=False)]
        script.hear(steps.Lost(FREE + 1, "could not start"))
        assert script.hear(script.reaped(FREE + 1)) == [steps.GiveUp("could not start")]

    def test_a_death_in_the_first_attach_is_followed_by_another_start(self):
        script = Script(Recovery("io", standby=True))
        script.hear(steps.Begin())
        script.hear(steps.Started(1, 101))
        script.hear(steps.Lost(1, dead=True))
        script.hear(steps.ConnectFailed(1, "broken"))
        reaped = steps.Reaped(1, 101, "exit status 1", killed=False)
        assert script.hear(reaped) == [steps.Launch(2, standby=False)]
