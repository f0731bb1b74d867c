"""The policy as a transcript, and against what any fair queue must hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from microhypervisor.sched.round_robin import RoundRobin

SLICE = 10


def test_whoever_waited_longest_runs_next():
    policy = RoundRobin(1, SLICE)
    for task in "abc":
        policy.make_ready(task)
    order = []
    for now in range(6):
        task = policy.pick(now)
        order.append(task)
        assert policy.pick(now) is None  # the one pCPU is taken
        policy.release(task)
        policy.make_ready(task)
    assert "".join(order) == "abcabc"


def test_nobody_gives_way_when_nobody_waits():
    policy = RoundRobin(2, SLICE)
    policy.make_ready("a")
    policy.pick(0)
    assert not policy.contended
    assert policy.expired(1000 * SLICE) == []


def test_as_many_give_way_as_wait_and_the_longest_running_first():
    policy = RoundRobin(3, SLICE)
    for now, task in enumerate("abc"):
        policy.make_ready(task)
        assert policy.pick(now) == task
    policy.make_ready("d")
    assert policy.contended
    assert policy.expired(SLICE - 1) == []
    assert policy.expired(SLICE) == ["a"]
    assert policy.expired(5 * SLICE) == ["a"]
    policy.make_ready("e")
    assert policy.expired(5 * SLICE) == ["a", "b"]


def test_whoever_withdraws_is_passed_over():
    policy = RoundRobin(1, SLICE)
    policy.make_ready("a")
    policy.make_ready("b")
    policy.withdraw("a")
    policy.withdraw("nobody")
    assert policy.pick(0) == "b"
    assert not policy.contended


class Fair(RuleBasedStateMachine):
    """Any use: pCPUs are never overbooked, none idles while somebody waits, order is kept."""

    PCPUS = 2
    TASKS = range(5)

    def __init__(self):
        super().__init__()
        self.policy = RoundRobin(self.PCPUS, SLICE)
        self.now = 0
        self.waiting = []
        self.running = {}

    def idle(self):
        return [t for t in self.TASKS if t not in self.waiting and t not in self.running]

    @precondition(lambda self: self.idle())
    @rule(data=st.data())
    def ready(self, data):
        task = data.draw(st.sampled_from(self.idle()))
        self.policy.make_ready(task)
        self.waiting.append(task)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def release(self, data):
        task = data.draw(st.sampled_from(sorted(self.running)))
        self.policy.release(task)
        del self.running[task]

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data):
        task = data.draw(st.sampled_from(self.waiting))
        self.policy.withdraw(task)
        self.waiting.remove(task)

    @rule()
    def pick(self):
        task = self.policy.pick(self.now)
        if self.waiting and len(self.running) < self.PCPUS:
            assert task == self.waiting.pop(0)
            self.running[task] = self.now
        else:
            assert task is None

    @rule(passed=st.integers(0, 2 * SLICE))
    def time_passes(self, passed):
        self.now += passed

    @invariant()
    def those_who_must_give_way_ran_their_slice(self):
        expired = self.policy.expired(self.now)
        over = sorted(t for t, since in self.running.items() if self.now - since >= SLICE)
        assert len(expired) == min(len(over), len(self.waiting))
        assert set(expired) <= set(over)
        assert self.policy.contended == bool(self.waiting)


Fair.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFair = Fair.TestCase
