"""Death of a service OS and replay by the next: nothing is lost, doubled or overtaken."""

import pytest

from microhypervisor.limits import SLOT_STRIDE
from protos import io_pb2
from sessions import session as sessions_session
from tests.sessions.service import DATA, HEADER, PATIENCE, dropped, running, slots


def test_what_is_in_flight_is_replayed_in_order_before_anything_new(rig):
    first = running(rig)
    rig.submit(4, 2)
    rig.submit(7)
    requests = first.take_batch()
    while len(requests) < 3:
        requests += first.take_batch()
    first.complete(requests[1])
    assert rig.done() == [2]
    assert rig.lose(first) == "the service OS died"

    rig.submit(2, 0)  # while nobody serves
    second = rig.attach()
    second.take_control("activate")
    replayed = second.take_batch(replay=True)
    assert slots(replayed) == [4, 7]
    assert [r.header for r in replayed] == [b"\4" * HEADER, b"\7" * HEADER]
    assert [r.generation for r in replayed] == [requests[0].generation, requests[2].generation]
    assert second.idle(rig.device)  # 2 and 0 wait
    second.complete(replayed[1])
    assert rig.done() == [7]
    assert second.idle(rig.device)
    assert rig.replays.empty()
    second.complete(replayed[0])
    assert rig.done() == [4]
    assert rig.replays.get(timeout=PATIENCE) == 2
    assert slots(second.take_batch()) == [2, 0]
    assert rig.device.status.replayed == 2
    assert rig.device.status.requests == 5


@pytest.mark.parametrize(
    "wrong", [{"epoch": 1}, {"written": 9}, {"generation": 77}], ids=lambda w: next(iter(w))
)
def test_a_refused_completion_of_a_replayed_request_lets_nothing_new_pass(rig, wrong):
    first = running(rig)
    rig.submit(0)
    first.take_batch()
    rig.lose(first)
    rig.submit(1)
    second = rig.attach()
    second.take_control("activate")
    (request,) = second.take_batch(replay=True)
    answer = {"slot": 0, "generation": request.generation, "epoch": 2, **wrong}
    epoch = answer.pop("epoch")
    second.answer(io_pb2.Completion(**answer), epoch=epoch)
    dropped(rig, second, 1)
    assert second.idle(rig.device)
    second.complete(request)
    assert slots(second.take_batch()) == [1]


def test_parked_requests_are_replayed_but_not_waited_for(rig):
    first = running(rig)
    rig.submit(3, number=1)
    assert slots(first.take_batch()) == [8 + 3]
    rig.lose(first)
    second = rig.attach()
    second.take_control("activate")
    assert slots(second.take_batch(replay=True)) == [11]
    rig.submit(0)
    assert slots(second.take_batch()) == [0]


def test_replayed_payload_comes_from_guest_memory_never_from_the_old_window(windowed):
    first = running(windowed)
    windowed.poke(DATA, b"first")
    windowed.submit(0, buffers=[(0, windowed.header_at(0), HEADER), (0, DATA, 5)])
    first.take_batch()
    first.view[0:5] = b"EVIL!"
    windowed.lose(first)
    windowed.poke(DATA, b"still")
    windowed.poke(windowed.header_at(0), b"x" * HEADER)
    second = windowed.attach()
    second.take_control("activate")
    (request,) = second.take_batch(replay=True)
    assert second.view[0:5] == b"still"
    assert request.header == b"\0" * HEADER  # from the log's own copy


def test_the_old_window_is_of_no_use_after_the_epoch(windowed):
    first = running(windowed)
    windowed.submit(0)
    first.take_batch()
    windowed.lose(first)
    second = windowed.attach()
    second.take_control("activate")
    (request,) = second.take_batch(replay=True)
    first.view[:SLOT_STRIDE] = b"\xee" * SLOT_STRIDE  # it is not dead enough
    second.complete(request, written=1)
    assert windowed.done() == [0]
    assert windowed.peek(windowed.header_at(0) + HEADER, 1) == b"\0"


def test_an_incarnation_that_dies_while_replaying_is_followed_by_one_that_does_it_all(rig):
    service = running(rig)
    rig.submit(0, 1, 2)
    service.take_batch()
    for victim in (0, 1):
        rig.lose(service)
        service = rig.attach()
        service.take_control("activate")
        requests = service.take_batch(replay=True)
        assert slots(requests) == list(range(victim, 3))
        service.complete(requests[0])
        assert rig.done() == [victim]
    assert rig.replays.empty()  # it has not finished yet
    service.complete(requests[1])
    assert rig.done() == [2]
    assert rig.replays.get(timeout=PATIENCE) == 2


def test_a_request_that_was_taken_but_never_sent_is_replayed(rig):
    """Between collect and send there is only the log."""
    first = running(rig)
    rig.lose(first)
    rig.submit(5)
    assert [e.head for e in rig.device.collect()] == [5]
    second = rig.attach()
    second.take_control("activate")
    assert slots(second.take_batch(replay=True)) == [5]


def test_requests_before_the_first_attach_of_an_epoch_wait_in_the_ring(rig):
    rig.lose(running(rig))
    rig.submit(1, 6)
    service = rig.attach()
    service.take_control("activate")
    assert slots(service.take_batch()) == [1, 6]


REQUESTS = 4
MESSAGES = REQUESTS + 2  # a reset, an activation, and each request by itself


@pytest.mark.parametrize(
    ("heard", "answered"),
    [(heard, answered) for heard in range(MESSAGES + 1) for answered in range(REQUESTS + 1)],
)
def test_death_after_any_message_loses_and_doubles_nothing(windowed, heard, answered):
    """An incarnation dies having heard and answered so much; the next one serves all."""
    rig = windowed
    first = rig.attach()
    rig.start()
    for head in range(REQUESTS):
        rig.submit(head)
        first.idle(rig.device)  # so that the next request has a message of its own
    taken = [first.take() for _ in range(heard)]
    batches = [message.batch for message in taken if message.HasField("batch")]
    for batch in batches[:answered]:
        first.complete(*batch.requests)
    rig.lose(first)
    second = rig.attach()
    assert second.take().HasField("activate")
    while not (second.idle(rig.device) and rig.device.log.idle):
        second.complete(*second.take().batch.requests)
        rig.sync(second)
    assert sorted(head for head, _ in rig.rings[0].take()) == list(range(REQUESTS))
    assert rig.device.status.dropped == 0
    assert rig.device.status.completions == REQUESTS
    assert rig.device.status.replayed == REQUESTS - min(len(batches), answered)


def test_an_end_does_not_wait_for_the_window_to_be_unmapped_but_closing_does(windowed, monkeypatch):
    monkeypatch.setattr(sessions_session, "UNMAP_S", 2 * PATIENCE)
    running(windowed)
    session = windowed.session
    session.end()
    assert session.join(PATIENCE)
    assert session.dialogue.window.fits(0, 1)
    session.close()
    with pytest.raises(ValueError, match="released"):
        session.dialogue.window.written(0, 0, 1)
