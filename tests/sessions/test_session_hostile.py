"""What a service OS may not do once it is attached: it is dropped, or ends the session."""

import pytest

from microhypervisor.limits import MAX_STATE
from protos import io_pb2
from sessions import flood
from tests.sessions.service import (
    CONFIG,
    PATIENCE,
    described,
    dropped,
    eventually,
    running,
    slots,
)


def test_a_completion_counts_once(rig):
    service = running(rig)
    rig.submit(0, 1)
    requests = service.take_batch()
    service.complete(requests[0], requests[0])
    service.complete(requests[0])
    assert rig.done() == [0]
    dropped(rig, service, 2)
    assert rig.rings[0].take() == []
    service.complete(requests[1])
    eventually(lambda: rig.rings[0].take() == [(1, 0)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"slot": 5},
        {"slot": 0xFFFFFFFF},
        {"generation": 0},
        {"generation": 0xFFFFFFFF},
        {"written": 2},
        {"written": 0xFFFFFFFF},
    ],
)
def test_a_wrong_completion_is_dropped_and_changes_nothing(rig, wrong):
    service = running(rig)
    rig.submit(0)
    (request,) = service.take_batch()
    right = {"slot": 0, "generation": request.generation, "written": 1, "payload": b"!"}
    service.answer(io_pb2.Completion(**{**right, **wrong}))
    dropped(rig, service, 1)
    assert rig.rings[0].take() == []
    assert len(rig.device.log) == 1
    service.answer(io_pb2.Completion(**right))  # the request is still there to be completed
    eventually(lambda: rig.rings[0].take() == [(0, 1)])


@pytest.mark.parametrize("epoch", [0, 1, 3, (1 << 64) - 1])
def test_messages_of_another_epoch_are_dropped_whole(rig, epoch):
    rig.lose(rig.attach())
    service = running(rig)
    rig.submit(0, 1)
    requests = service.take_batch()
    service.complete(*requests, epoch=epoch, state=b"not this")
    dropped(rig, service, 2)
    assert rig.rings[0].take() == []
    assert rig.device.state == b""


def test_wrong_completions_do_not_spoil_right_ones_in_the_same_message(rig):
    service = running(rig)
    rig.submit(0, 1)
    requests = service.take_batch()
    bad = io_pb2.Completion(slot=7, generation=1)
    good = [io_pb2.Completion(slot=r.slot, generation=r.generation) for r in requests]
    service.answer(good[1], bad, good[0])
    assert rig.done() == [1, 0]
    dropped(rig, service, 1)


@pytest.mark.parametrize("wrong", [{"slot": 5}, {"generation": 0}, {"written": 2}])
def test_a_state_with_a_wrong_completion_is_dropped_with_all_that_it_tells_of(rig, wrong):
    """Or the next incarnation would do again what its state says is done."""
    service = running(rig)
    rig.submit(0, 1)
    fields = [{"slot": r.slot, "generation": r.generation} for r in service.take_batch()]
    right = [io_pb2.Completion(**each) for each in fields]
    bad = io_pb2.Completion(**{**fields[1], **wrong})
    service.answer(right[0], bad, state=b"x")
    dropped(rig, service, 2)
    assert (rig.rings[0].take(), rig.device.state) == ([], b"")
    service.answer(*right, state=b"both")
    eventually(lambda: rig.rings[0].take() == [(0, 0), (1, 0)])
    assert rig.device.state == b"both"


def test_completions_before_attached_are_dropped(rig):
    service = running(rig)
    rig.lose(service)
    early = io_pb2.Completions(epoch=2, completions=[io_pb2.Completion(slot=1, generation=1)])
    rig.open("hangs up")  # epoch 2, refused
    rig.device.accept(early, 2, None)
    assert rig.device.status.dropped == 1


def test_a_flood_of_stale_completions_ends_the_session(rig, monkeypatch):
    monkeypatch.setattr(flood, "WITHIN_S", PATIENCE)
    service = running(rig)
    for _ in range(10_000):
        service.answer(io_pb2.Completion(slot=1, generation=0))
    assert rig.losses.get(timeout=PATIENCE).startswith("a flood: ")
    assert rig.device.status.dropped < flood.MOST
    rig.session.close()
    assert rig.losses.empty()


@pytest.mark.parametrize(
    ("times", "nothing"),
    [
        (flood.MOST + 1, {"completions": io_pb2.Completions(epoch=1, interrupt=True)}),
        (flood.MOST + 1, {"completions": io_pb2.Completions(epoch=1, state=b"as before")}),
        (flood.MOST + 1, {"config_change": io_pb2.ConfigChange(config_space=CONFIG)}),
        (flood.MOST + 1, {}),
        (1, {"completions": io_pb2.Completions(epoch=1, completions=[{}] * flood.MOST)}),
    ],
    ids=["interrupts", "states", "configurations", "unknown messages", "a long message"],
)
def test_so_does_a_flood_of_anything_that_completes_nothing(windowed, monkeypatch, times, nothing):
    monkeypatch.setattr(flood, "WITHIN_S", PATIENCE)
    service = running(windowed)
    for _ in range(times):
        service.say(**nothing)
    assert windowed.losses.get(timeout=PATIENCE).startswith("a flood: ")


def test_what_a_reset_left_behind_may_be_answered_one_by_one(windowed, monkeypatch):
    monkeypatch.setattr(flood, "MOST", 2)
    service = running(windowed)
    windowed.submit(0, 1, 2, 3)
    requests = service.take_batch()
    windowed.start()
    for request in requests:
        service.complete(request)
    windowed.submit(0)
    service.take_control("reset")
    service.take_control("activate")
    service.complete(*service.take_batch())
    assert windowed.done() == [0]
    assert windowed.losses.empty()


def test_attaching_twice_ends_the_session(rig):
    service = running(rig)
    service.say(attached=described())
    assert rig.losses.get(timeout=PATIENCE) == "the service OS attached twice"


def test_a_configuration_of_another_size_ends_the_session(rig):
    service = running(rig)
    service.say(config_change=io_pb2.ConfigChange(config_space=CONFIG + b"\0"))
    assert "the configuration space changed size" in rig.losses.get(timeout=PATIENCE)
    assert rig.device.transport.config == CONFIG


def test_a_state_that_is_too_large_loses_no_completion(rig):
    service = running(rig)
    rig.submit(0)
    service.complete(*service.take_batch(), state=b"kept")
    assert rig.done() == [0]
    rig.submit(1)
    (request,) = service.take_batch()
    service.complete(request, state=bytes(MAX_STATE + 1))
    problem = rig.losses.get(timeout=PATIENCE)
    assert "state" in problem
    assert rig.device.state == b"kept"
    # the request is either done or replayed
    if rig.rings[0].take() != [(1, 0)]:
        service = rig.attach(described(state=b"kept"))
        service.take_control("activate")
        assert slots(service.take_batch(replay=True)) == [1]


def test_a_state_of_the_largest_size_is_kept_and_handed_on(rig):
    service = running(rig)
    state = b"s" * MAX_STATE
    rig.submit(0)
    service.complete(*service.take_batch(), state=state)
    assert rig.done() == [0]
    rig.lose(service)
    assert rig.attach().begin.state == state


def test_the_state_told_with_attached_is_handed_on(rig):
    rig.lose(rig.attach(described(state=b"one")))
    second = rig.attach(described(state=b"two"))
    assert second.begin.state == b"one"
    rig.lose(second)
    assert rig.attach().begin.state == b"two"
