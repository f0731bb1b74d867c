"""The policy as a transcript."""

from policies.parameters import VcpuParameters
from policies.round_robin import RoundRobin

SLICE = 10


def ready(policy, names, now=0, **parameters):
    for name in names:
        policy.add(name, VcpuParameters(**parameters), now)
        policy.ready(name, now, True)


def test_whoever_waited_longest_runs_next():
    policy = RoundRobin(1, SLICE)
    ready(policy, "abc")
    order = []
    for now in range(6):
        task = policy.pick(0, now)
        order.append(task)
        policy.release(task, now)
        policy.ready(task, now, False)
    assert "".join(order) == "abcabc"


def test_nobody_gives_way_when_nobody_waits():
    policy = RoundRobin(2, SLICE)
    ready(policy, "a")
    assert policy.pick(0, 0) == "a"
    assert policy.pick(1, 0) is None
    assert policy.preempt(1000 * SLICE) == []
    assert policy.next_look(1000 * SLICE) is None


def test_as_many_give_way_as_wait_and_the_longest_running_first():
    policy = RoundRobin(3, SLICE)
    for now, task in enumerate("abc"):
        ready(policy, task, now)
        assert policy.pick(now, now) == task
    ready(policy, "d", 3)
    assert policy.preempt(SLICE - 1) == []
    assert policy.next_look(SLICE - 1) == SLICE
    assert policy.preempt(SLICE) == ["a"]
    assert policy.preempt(SLICE + 5) == ["a"]  # its pCPU is promised: nobody else is kicked
    assert policy.next_look(SLICE + 5) is None
    ready(policy, "e", SLICE + 5)
    assert policy.preempt(SLICE + 5) == ["a", "b"]


def test_who_may_not_run_there_makes_nobody_give_way_and_is_passed_over():
    policy = RoundRobin(2, SLICE)
    ready(policy, "a")
    assert policy.pick(0, 0) == "a"
    ready(policy, "b", affinity=frozenset({1}))
    ready(policy, "c")
    assert policy.pick(1, 0) == "b"
    ready(policy, "d", affinity=frozenset({1}))
    policy.release("a", 1)
    assert policy.pick(0, 1) == "c"
    assert policy.next_look(1) == SLICE
    assert policy.preempt(50) == ["b"]


def test_a_forbidden_pcpu_has_to_be_left_at_once():
    policy = RoundRobin(2, SLICE)
    ready(policy, "a")
    policy.pick(0, 0)
    policy.change("a", VcpuParameters(affinity=frozenset({1})), 3)
    assert policy.preempt(3) == ["a"]
    policy.release("a", 4)
    policy.ready("a", 4, False)
    assert policy.pick(0, 4) is None
    assert policy.pick(1, 4) == "a"


def test_whoever_withdraws_is_passed_over_and_a_change_keeps_the_place():
    policy = RoundRobin(1, SLICE)
    ready(policy, "abc")
    policy.withdraw("a", 0)
    policy.change("b", VcpuParameters(weight=7, cap=3), 0)  # it knows neither
    assert policy.pick(0, 0) == "b"
    assert policy.preempt(SLICE) == ["b"]
    policy.release("b", SLICE)
    policy.remove("b", SLICE)
    assert policy.pick(0, SLICE) == "c"
