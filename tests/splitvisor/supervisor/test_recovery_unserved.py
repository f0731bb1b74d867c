"""The recovery machine by transcripts: devices that could not be attached are tried again."""

import pytest

from splitvisor.machine import ServiceSettings
from splitvisor.supervisor import events, steps
from splitvisor.supervisor.backoff import FIRST_DELAY
from splitvisor.supervisor.quarantine import MARKS, SUSPICIOUS
from splitvisor.supervisor.recovery import Recovery
from splitvisor.supervisor.service_status import out_since, status_of
from splitvisor.supervisor.states import State
from tests.splitvisor.supervisor.script import DEVICES, Script

SERVED, AWAY = DEVICES
PROBLEM = f"{AWAY}: no such file"


@pytest.fixture
def cold():
    """Epoch 2 serves all but one device, after a death of epoch 1; without a standby."""
    script = Script(Recovery("io", standby=False))
    script.serve()
    script.crash(1)
    script.hear(steps.Started(2, 102))
    script.hear(steps.Connected(2, 1, (PROBLEM,)))
    return script


def tried(script):
    """The next thing to be done is to try again."""
    assert script.wait() == [steps.Retry(script.machine.active.epoch, (AWAY,))]


def test_it_is_tried_again_while_the_other_is_served(cold):
    cold.hear(cold.replayed(2, SERVED, 1))
    assert cold.machine.state is State.SERVING
    assert cold.told(events.DeviceUnserved) == [events.DeviceUnserved("io", AWAY, "no such file")]
    tried(cold)
    assert cold.machine.deadline is None
    assert cold.hear(steps.Retried(2, problems=(f"{AWAY}: not yet",))) == []
    tried(cold)
    cold.hear(steps.Retried(2, (AWAY,)))
    (served,) = cold.told(events.DeviceServed)
    assert served.after_ns == cold.now - cold.machine.history.last.detected
    assert len(cold.told(events.DeviceUnserved)) == 1
    assert cold.machine.deadline is None
    assert cold.machine.active.devices == 2
    assert not status_of(cold.machine, ServiceSettings(), cold.now).unserved


def test_the_status_tells_of_it(cold):
    (unserved,) = status_of(cold.machine, ServiceSettings(), cold.now + FIRST_DELAY).unserved
    assert (unserved.device, unserved.reason) == (AWAY, "no such file")
    detected = cold.machine.outage.detected
    assert unserved.for_s == pytest.approx((cold.now + FIRST_DELAY - detected) / 1e9)


def absence(script, later=0):
    """The longest of a device, as the status has it."""
    status = status_of(script.machine, ServiceSettings(), script.now + later)
    if not status.HasField("longest_absence"):
        return None
    return status.longest_absence.device, status.longest_absence.for_s


def test_the_longest_absence_of_a_device_is_kept_when_it_is_over(cold):
    detected = cold.machine.outage.detected
    assert absence(cold, 5) == (AWAY, pytest.approx((cold.now + 5 - detected) / 1e9))
    cold.hear(cold.replayed(2, SERVED, 1))
    tried(cold)
    cold.hear(steps.Retried(2, (AWAY,)))
    lasted = AWAY, pytest.approx((cold.now - detected) / 1e9)
    assert absence(cold, 10**12) == lasted
    cold.crash(2)
    cold.hear(steps.Started(3, 103))
    cold.hear(steps.Connected(3, 1, (f"{SERVED}: gone",)))
    assert absence(cold) == lasted  # the other has been away for less
    assert absence(cold, 10**12)[0] == SERVED
    cold.hear(steps.GuestGone(SERVED.partition("/")[0]))
    assert absence(cold, 10**12)[0] == AWAY


def test_where_no_device_was_absent_there_is_no_longest():
    script = Script(Recovery("io", standby=False))
    script.serve()
    script.crash(1)
    assert absence(script) is None


def test_its_replay_is_no_others(cold):
    tried(cold)
    cold.hear(steps.DeviceAttached(2, AWAY))
    cold.hear(cold.replayed(2, AWAY, 1))  # before the answer to Retry
    assert cold.machine.state is State.REPLAYING
    cold.hear(steps.Retried(2, (AWAY,)))
    assert cold.machine.state is State.REPLAYING
    cold.hear(cold.replayed(2, SERVED, 1))
    assert cold.machine.state is State.SERVING


def test_what_is_attached_in_the_midst_of_a_replay_is_waited_for(cold):
    tried(cold)
    cold.hear(steps.Retried(2, (AWAY,)))
    cold.hear(cold.replayed(2, SERVED, 1))
    assert cold.machine.state is State.REPLAYING
    cold.hear(cold.replayed(2, AWAY, 1))
    assert cold.machine.state is State.SERVING
    assert cold.told(events.ServiceRecovered)[-1].problems == ()


def test_the_next_incarnation_has_it_tried_again_if_it_has_to(cold):
    cold.hear(cold.replayed(2, SERVED, 1))
    tried(cold)
    since = out_since(cold.machine, AWAY)
    cold.crash(2)
    cold.hear(steps.Started(3, 103))
    cold.hear(steps.Retried(2, (AWAY,)))  # too late
    cold.hear(steps.Connected(3, 1, (PROBLEM,)))
    cold.hear(cold.replayed(3, SERVED, 1))
    assert out_since(cold.machine, AWAY) == since
    assert cold.told(events.DeviceServed) == []
    tried(cold)
    cold.crash(3)
    cold.hear(steps.Started(4, 104))
    cold.attach(4)
    assert [event.device for event in cold.told(events.DeviceServed)] == [AWAY]
    assert cold.machine.deadline is None


def test_nothing_is_tried_in_an_outage(cold):
    cold.hear(cold.replayed(2, SERVED, 1))
    cold.hear(steps.Lost(2, dead=True))
    cold.now += FIRST_DELAY
    assert cold.machine.deadline is None
    assert cold.hear(steps.Tick()) == []


def test_a_guest_that_is_gone_has_no_device(cold):
    cold.hear(cold.replayed(2, SERVED, 1))
    cold.hear(steps.GuestGone("web"))
    assert cold.machine.deadline is None
    assert cold.told(events.DeviceServed) == []


def test_nor_has_one_that_went_before_the_core_answered():
    script = Script(Recovery("io", standby=False))
    script.serve()
    script.crash(1)
    script.hear(steps.Started(2, 102))
    script.hear(steps.GuestGone("web"))
    script.hear(steps.Connected(2, 0, (PROBLEM,)))
    assert script.machine.unserved.devices == {}


def test_what_is_put_in_quarantine_is_not_tried():
    script = Script(Recovery("io", standby=False))
    script.serve()
    script.crash(1)
    epoch = 2
    script.hear(steps.Started(epoch, epoch))
    for _ in range(SUSPICIOUS + MARKS):
        script.hear(steps.Lost(epoch, dead=True))
        script.hear(steps.Connected(epoch, 0, (), AWAY if epoch > 3 else ""))
        actions = script.hear(script.reaped(epoch))
        if script.machine.state is State.BACKING_OFF:
            actions = script.wait()
        epoch = actions[0].epoch
        script.hear(steps.Started(epoch, epoch))
    script.attach(epoch, (SERVED,))
    assert AWAY in script.machine.quarantine.reasons
    assert script.machine.unserved.devices == {}
    assert out_since(script.machine, AWAY) == 0


def test_an_upgrade_goes_on_without_it_and_it_is_tried_in_the_new_one(cold):
    cold.hear(cold.replayed(2, SERVED, 1))
    cold.hear(steps.UpgradeAsked(1))
    cold.hear(steps.Started(3, 103))
    assert cold.hear(steps.Prepared(3, 1, (PROBLEM,))) == [steps.Release(2)]
    assert cold.machine.deadline is None
    cold.hear(steps.Released(2))
    cold.hear(cold.reaped(2))
    (ended,) = cold.hear(steps.Connected(3, 1, (PROBLEM,)))
    assert ended.problem == ""
    cold.hear(cold.replayed(3, SERVED, 0))
    tried(cold)


def test_a_standby_without_it_is_as_good_as_the_one_that_serves():
    script = Script(Recovery("io", standby=True))
    script.serve()
    script.wait()
    script.hear(steps.Started(2, 102))
    assert script.hear(steps.Prepared(2, 1, (PROBLEM,))) == []
    assert script.machine.deadline is None
    script.hear(steps.Lost(1, dead=True))
    assert script.hear(script.reaped(1)) == [steps.Connect(2, False, ())]  # which opens it anew


def test_since_when_each_is_not_served(cold):
    detected = cold.machine.outage.detected
    assert (out_since(cold.machine, SERVED), out_since(cold.machine, AWAY)) == (0, detected)
    cold.hear(cold.replayed(2, SERVED, 1))
    cold.hear(steps.Lost(2, dead=True))
    assert (out_since(cold.machine, SERVED), out_since(cold.machine, AWAY)) == (cold.now, detected)
