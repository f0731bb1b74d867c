"""When a device counts as stalled: by time that passed, with sessions that follow a script."""

import pytest

from control.progress import BEGIN_PATIENCE_MS, OVERTAKEN, Progress, Stall
from protos import core_pb2 as pb
from sessions.dialogue import Phase
from tests.sessions.conftest import services
from tests.sessions.service import described, eventually
from tests.sessions.services import background

__all__ = ["services"]

MS = 1_000_000
PATIENCE_MS = 100


def test_each_half_of_the_patience_is_told_once():
    stall = Stall()
    told = [stall.look(10 * MS, True, 5, PATIENCE_MS) for _ in range(21)]
    assert [n for n, said in enumerate(told) if said] == [5, 10, 15, 20]  # the first look begins
    assert stall.ns == 200 * MS


@pytest.mark.parametrize(("busy", "answered"), [(False, 5), (True, 6), (False, 6)])
def test_progress_and_idleness_begin_anew(busy, answered):
    stall = Stall()
    for _ in range(10):
        stall.look(10 * MS, True, 5, PATIENCE_MS)
    assert not stall.look(10 * MS, busy, answered, PATIENCE_MS)
    assert stall.ns == 0
    first = not busy  # look that finds it busy
    told = [stall.look(10 * MS, True, answered, PATIENCE_MS) for _ in range(6)]
    assert told.index(True) == 4 + first


def test_endless_patience_is_counted_and_never_over():
    stall = Stall()
    assert not any(stall.look(1000 * MS, True, 5, 0) for _ in range(100))
    assert stall.ns == 99_000 * MS


def test_a_gap_is_more_than_one_half_and_told_once():
    stall = Stall()
    assert [stall.look(ms * MS, True, 5, PATIENCE_MS) for ms in (0, 170, 20, 20)] == [
        *(False, True, False, True)
    ]


class Watched:
    """A disk of which somebody looks whether it makes progress."""

    def __init__(self, services):
        self.services = services
        services.how[1] = {"answer": described(patience_ms=PATIENCE_MS)}
        self.disk = services.disk("disk0")
        self.progress = Progress(services.directory, services.events)
        self.service = services.made[1, "disk0"]

    def look(self, times=1):
        """So often; the milliseconds that events then told of."""
        self.services.so_far()
        for _ in range(times):
            self.progress.look(10 * MS)
        self.services.events.emit(pb.Event(kind=pb.EVENT_POLICY_CHANGED))
        told = []
        while (event := self.services.happened.get()).kind != pb.EVENT_POLICY_CHANGED:
            assert event.kind == pb.EVENT_DEVICE_STALLED
            assert (event.guest, event.device, event.service) == ("g", "disk0", "main")
            told.append((event.count, event.epoch, event.text))
        return told

    @property
    def stalled_ms(self):
        return self.disk.device.status.stalled_ms


@pytest.fixture
def watched(services):
    return Watched(services)


def test_for_however_long_it_is_told_what_there_is_room_for(watched):
    watched.disk.submit(0)
    watched.service.take_batch()
    watched.progress.look(0)
    watched.progress.look(50 * 24 * 3600 * 1000 * MS)
    assert watched.stalled_ms == 0xFFFFFFFF


def test_a_session_that_goes_meanwhile_is_looked_at_once(watched):
    (attachment,) = watched.services.directory.attachments

    class Going:
        device, failing = attachment.device, ""
        sessions = [attachment.active]  # noqa: RUF012
        active = property(lambda self: self.sessions.pop() if self.sessions else None)

    class Directory:
        attachments = (Going(),)

    Progress(Directory(), watched.services.events).look(10 * MS)
    assert watched.stalled_ms == 0


def test_an_idle_device_never_stalls(watched):
    assert watched.look(100) == []
    assert watched.stalled_ms == 0


def test_a_request_that_nobody_answers_is_told(watched):
    watched.disk.submit(0)
    requests = watched.service.take_batch()
    assert watched.look(5) == []
    assert watched.look() == [(50, 1, "")]
    assert watched.stalled_ms == 50
    assert watched.look(10) == [(100, 1, ""), (150, 1, "")]
    watched.service.complete(*requests)
    assert watched.disk.done() == [0]
    assert watched.look() == []
    assert watched.stalled_ms == 0


def test_who_hears_of_a_stall_finds_it_in_the_status(watched):
    device, found = watched.disk.device, []

    class Asking:
        def emit(self, event):
            found.append((event.count, device.status.stalled_ms))

    progress = Progress(watched.services.directory, Asking())
    watched.disk.submit(0)
    watched.service.take_batch()
    for _ in range(11):
        progress.look(10 * MS)
    assert found == [(50, 50), (100, 100)]


def test_one_answer_among_many_is_progress(watched):
    watched.disk.submit(*range(8))
    for request in watched.service.take_batch()[:7]:
        assert watched.look(5) == []
        watched.service.complete(request)
        assert watched.disk.done() == [request.slot]


def test_so_is_the_answer_to_what_a_reset_left_behind(watched):
    watched.disk.submit(0, 1)
    requests = watched.service.take_batch()
    watched.disk.start()
    assert watched.look(6) == [(50, 1, "")]
    watched.service.complete(requests[0])
    eventually(lambda: watched.disk.device.log.answered)
    assert watched.look(5) == []
    assert watched.look() == [(50, 1, "")]


def test_parked_requests_may_wait(watched):
    watched.disk.submit(0, number=1)
    watched.service.take_batch()
    assert watched.look(100) == []


def test_a_device_stalls_that_is_held_until_it_has_answered(watched):
    watched.disk.submit(0)
    requests = watched.service.take_batch()
    watched.disk.device.hold(True)
    assert watched.look(6) == [(50, 1, "")]
    watched.service.complete(*requests)
    watched.disk.done()
    watched.disk.submit(1)
    assert watched.look(100) == []


def test_a_device_does_not_stall_that_fails_or_that_nobody_serves(watched):
    watched.disk.submit(0)
    watched.service.take_batch()
    assert watched.look(6) == [(50, 1, "")]
    watched.services.die(1)
    watched.services.next(pb.EVENT_DEVICE_LOST)
    assert watched.look(100) == []
    assert watched.stalled_ms == 0
    watched.disk.submit(1, number=1)
    watched.services.directory.fail("main", [], "gone")
    assert watched.disk.done() == [0]
    assert watched.look(100) == []


def test_a_stream_that_has_begun_and_is_not_attached_stalls(watched):
    services = watched.services
    services.how[2] = {"answer": False}
    services.prepare(2)
    assert watched.look(100) == []  # it only stands by
    services.die(1)
    thread, _ = background(services.connect, 2)
    (attachment,) = services.directory.attachments
    eventually(lambda: attachment.active and attachment.active.phase is Phase.BEGUN)
    half, text = BEGIN_PATIENCE_MS // 2, "it has begun and is not attached"
    assert watched.look(half // 10 + 1) == [(half, 2, text)]
    services.made[2, "disk0"].say(attached=described(patience_ms=PATIENCE_MS))
    thread.join()
    services.next(pb.EVENT_DEVICE_REPLAYED)
    assert watched.look() == []
    assert watched.stalled_ms == 0


def test_a_driver_has_its_own_patience_to_begin(watched):
    services = watched.services
    services.how[2] = {"answer": False, "patience_ms": 300}
    services.prepare(2)
    services.die(1)
    thread, _ = background(services.connect, 2)
    (attachment,) = services.directory.attachments
    eventually(lambda: attachment.active and attachment.active.phase is Phase.BEGUN)
    text = "it has begun and is not attached"
    assert watched.look(31) == [(150, 2, text), (300, 2, text)]
    services.made[2, "disk0"].say(attached=described(patience_ms=PATIENCE_MS))
    thread.join()


def test_who_begins_behind_another_driver_has_time_from_its_end(watched):
    services, old = watched.services, watched.service
    services.how[1, "disk0"] = {"answer": False}
    old.stays = True
    thread, _ = background(services.directory.swap, "main", "g/disk0", "new", 10_000, False)
    (attachment,) = services.directory.attachments
    eventually(lambda: attachment.active and attachment.active.phase is Phase.BEGUN)
    assert watched.look(100) == []
    old.die()
    half = BEGIN_PATIENCE_MS // 2
    eventually(lambda: not attachment.active.held_up)
    assert watched.look(half // 10 + 1) == [(half, 1, "it has begun and is not attached")]
    services.made[1, "disk0"].say(attached=described(patience_ms=PATIENCE_MS))
    thread.join()


def test_a_request_that_others_overtake_for_ever_is_told_of(watched):
    watched.disk.submit(0)
    (lost,) = watched.service.take_batch()
    told = []
    for _ in range(2 * OVERTAKEN * PATIENCE_MS // 10 // 2 + 1):
        watched.disk.submit(1)
        watched.service.complete(*watched.service.take_batch())
        watched.disk.done()
        told += watched.look()
    limit = OVERTAKEN * PATIENCE_MS
    assert [(ms, text) for ms, _, text in told] == [
        (ms, "a request is not answered, others are") for ms in (limit // 2, limit)
    ]
    assert watched.stalled_ms == limit
    watched.service.complete(lost)
    watched.disk.done()
    watched.look()
    assert watched.stalled_ms == 0
