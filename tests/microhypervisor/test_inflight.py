"""The in-flight log against a model that keeps plain lists."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from microhypervisor.inflight import InFlight, InflightLog

SLOTS = 6


def request(log, slot):
    return InFlight(slot, log.next_generation(), 0, slot, b"", [], [], 0, 0)


class Log(RuleBasedStateMachine):
    """A core, its guest and its service OSes, all of whom do what they like."""

    def __init__(self):
        super().__init__()
        self.log = InflightLog()
        self.waiting = []  # requests that somebody waits for, oldest first
        self.orphans = []  # (slot, generation)
        self.answered = []  # (slot, generation), of all times

    def free(self):
        return [s for s in range(SLOTS) if s not in {e.slot for e in self.waiting}]

    @precondition(lambda self: not self.orphans and self.free())
    @rule(data=st.data())
    def submit(self, data):
        entry = request(self.log, data.draw(st.sampled_from(self.free())))
        self.log.submit(entry)
        self.waiting.append(entry)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def submit_a_slot_twice(self, data):
        entry = request(self.log, data.draw(st.sampled_from(self.waiting)).slot)
        with pytest.raises(AssertionError):
            self.log.submit(entry)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def complete(self, data):
        entry = data.draw(st.sampled_from(self.waiting))
        assert self.log.find(entry.slot, entry.generation) is entry
        self.log.retire(entry)
        self.waiting.remove(entry)
        self.answered.append((entry.slot, entry.generation))

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def complete_again(self, data):
        assert not self.known(*data.draw(st.sampled_from(self.answered)))

    @precondition(lambda self: self.orphans)
    @rule(data=st.data())
    def answer_an_orphan(self, data):
        slot, generation = data.draw(st.sampled_from(self.orphans))
        assert self.log.find(slot, generation) is None
        assert self.log.absorb_orphan(slot, generation)
        assert not self.log.absorb_orphan(slot, generation)
        self.orphans.remove((slot, generation))
        self.answered.append((slot, generation))

    @rule(slot=st.integers(0, SLOTS) | st.just(0xFFFFFFFF), generation=st.integers(0, 30))
    def complete_anything(self, slot, generation):
        expected = {(e.slot, e.generation) for e in self.waiting} | set(self.orphans)
        if (slot, generation) not in expected:
            assert not self.known(slot, generation)

    @rule()
    def reset(self):
        self.log.orphan_all()
        self.orphans += [(e.slot, e.generation) for e in self.waiting]
        self.waiting = []

    @rule()
    def next_epoch(self):
        assert self.log.begin_epoch() == self.waiting  # in submission order
        self.answered += self.orphans
        self.orphans = []

    def known(self, slot, generation):
        return self.log.find(slot, generation) or self.log.absorb_orphan(slot, generation)

    @invariant()
    def agrees_with_the_model(self):
        assert len(self.log) == len(self.waiting)
        assert self.log.settled == (not self.orphans)
        assert self.log.idle == (not self.orphans and not self.waiting)


Log.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestLog = Log.TestCase


def test_a_completed_request_keeps_the_order_of_the_others():
    log = InflightLog()
    entries = [request(log, slot) for slot in (3, 1, 4, 0)]
    for entry in entries:
        log.submit(entry)
    log.retire(entries[1])
    again = request(log, 1)
    log.submit(again)
    assert [e.slot for e in log.begin_epoch()] == [3, 4, 0, 1]


def test_an_ordered_queue_is_answered_in_submission_order():
    log = InflightLog()
    log.order([0])
    first, second, third = entries = [request(log, slot) for slot in (3, 1, 4)]
    for entry in entries:
        log.submit(entry)
    assert [log.overtakes(entry) for entry in entries] == [False, True, True]
    log.retire(first)
    assert [log.overtakes(entry) for entry in log.begin_epoch()] == [False, True]
    log.retire(second)
    log.orphan_all()
    later = request(log, 2)
    assert log.absorb_orphan(third.slot, third.generation)
    log.submit(later)
    assert not log.overtakes(later)


def test_other_queues_are_answered_in_any_order():
    log = InflightLog()
    log.order([1])
    entries = [request(log, slot) for slot in range(3)]
    for entry in entries:
        log.submit(entry)
    for entry in reversed(entries):
        assert not log.overtakes(entry)
        log.retire(entry)


def test_generations_tell_two_uses_of_a_slot_apart_even_when_they_wrap():
    log = InflightLog()
    log._generation = 0xFFFFFFFE
    first = request(log, 0)
    log.submit(first)
    log.retire(first)
    second = request(log, 0)
    log.submit(second)
    assert (first.generation, second.generation) == (0xFFFFFFFF, 0)
    assert log.find(0, first.generation) is None
