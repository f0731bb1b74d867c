"""What the core sees of each fault at each point: a real process, the core played by the test."""

import os
import signal
import struct
import time
from pathlib import Path

import grpc
import pytest

from protos import faults_pb2 as faults
from protos.io_pb2 import Request

DISCARD = 11
OPENED, ATTACHED, ANSWERED = "opened", "attached", "completions"
WHOLE_LIFE = [OPENED, ATTACHED, ANSWERED]

# For each point: what the core has heard before, and how many of two requests to a disk and to a
# console have taken effect. A console puts out what a whole batch holds.
BEFORE = {
    faults.OPENING: ([], 0, 0),
    faults.OPENED: ([], 0, 0),
    faults.PROMOTION: ([OPENED], 0, 0),
    faults.ATTACHED: ([OPENED], 0, 0),
    faults.AFTER_RECEIVE: ([OPENED, ATTACHED], 0, 0),
    faults.REPLAY_RECEIVED: ([OPENED, ATTACHED], 0, 0),
    faults.BEFORE_EXECUTE: ([OPENED, ATTACHED], 0, 0),
    faults.AFTER_EXECUTE: ([OPENED, ATTACHED], 1, 0),
    faults.REPLAY_EXECUTED: ([OPENED, ATTACHED], 1, 0),
    faults.MID_BATCH: ([OPENED, ATTACHED], 1, 0),
    faults.BEFORE_REPLY: ([OPENED, ATTACHED], 2, 2),
    faults.AFTER_REPLY: (WHOLE_LIFE, 2, 2),
    faults.CLOSING: (WHOLE_LIFE, 2, 2),
}
POINTS = pytest.mark.parametrize("point", BEFORE, ids=faults.Point.Name)


class Life:
    """A device that is attached, begun, given two requests and closed, as far as it gets."""

    def __init__(self, subject, device, name="d"):
        self._stream = subject.incarnation.stand_by(device.model, device.spec, device=name)
        self._device = device
        self.heard = []

    def lead(self, expected=WHOLE_LIFE):
        """Go on as long as answers are expected, and do what follows upon the last of them."""
        stream = self._stream
        for _ in expected:
            self.hear()
            if self.heard[-1] == OPENED:
                stream.begin()
            elif self.heard[-1] == ATTACHED:
                stream.submit(*self._device.batch(0), replay=True)
        if expected == WHOLE_LIFE:
            stream.hang_up()

    def hear(self):
        self.heard.append(self._stream.any().WhichOneof("body"))
        return self.heard[-1]

    def failure(self):
        """How the call ends; whatever is heard before is kept."""
        while True:
            try:
                self.hear()
            except grpc.RpcError as error:
                return error

    def end(self):
        """Wait for the end of the call, in order; on a busy host a batch has several answers."""
        with pytest.raises(StopIteration):
            self._hear_answers()

    def _hear_answers(self):
        while self.hear() == ANSWERED:
            pass

    def cancel(self):
        self._stream.cancel()


@POINTS
def test_it_dies_at_the_very_point(subject, device, point):
    subject.arm(action=faults.KILL, point=point)
    heard, on_disk, on_console = BEFORE[point]
    life = Life(subject, device)
    life.lead(heard)
    assert life.failure().code() is grpc.StatusCode.UNAVAILABLE
    assert life.heard == heard
    assert subject.incarnation.process.wait(60) == -signal.SIGKILL
    assert device.done() == (on_disk if device.model == "block" else on_console)


def test_an_exception_ends_the_stream_and_no_other(subject, device):
    for number, (point, (heard, _, _)) in enumerate(BEFORE.items()):
        name = f"d{number}"
        subject.arm(action=faults.RAISE, point=point, device=name)
        life = Life(subject, device, name)
        life.lead(heard)
        failure = life.failure()
        assert failure.code() is grpc.StatusCode.INTERNAL
        driver, _, what = failure.details().partition(": ")
        assert driver == f"driver {device.spec.partition(':')[0]}"
        assert what == f"UnexpectedError: failpoint {faults.Point.Name(point)}"
        assert life.heard == heard


def test_a_thread_that_hangs_does_so_at_the_very_point_and_alone(subject, device):
    for number, (point, (heard, _, _)) in enumerate(BEFORE.items()):
        name = f"d{number}"
        subject.arm(action=faults.HANG, point=point, device=name)
        life = Life(subject, device, name)
        life.lead(heard)
        subject.wait_until_acted()
        other = Life(subject, device, "other")
        other.lead()
        other.end()
        life.cancel()
        assert life.failure().code() is grpc.StatusCode.CANCELLED
        assert life.heard == heard


def test_a_step_takes_longer(subject, device):
    for number, point in enumerate(BEFORE):
        name = f"d{number}"
        subject.arm(action=faults.SLOW, point=point, device=name, delay_us=20_000, times=1)
        started = time.monotonic()
        life = Life(subject, device, name)
        life.lead()
        life.end()
        assert time.monotonic() - started >= 0.02
        assert life.heard == WHOLE_LIFE


def state(incarnation):
    return Path(f"/proc/{incarnation.process.pid}/stat").read_text().rpartition(")")[2].split()


def test_a_process_that_is_stopped_goes_on_where_it_was(subject, device):
    subject.arm(action=faults.STOP, point=faults.BEFORE_REPLY)
    life = Life(subject, device)
    life.lead([OPENED, ATTACHED])
    pid = subject.incarnation.process.pid
    stopped = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert (stopped.si_code, stopped.si_status) == (os.CLD_STOPPED, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    life.hear()
    assert life.heard == WHOLE_LIFE


def test_a_thread_that_spins_takes_the_processor(subject, device):
    subject.arm(action=faults.SPIN, point=faults.AFTER_EXECUTE)
    life = Life(subject, device)
    life.lead([OPENED, ATTACHED])
    subject.wait_until_acted()
    used = int(state(subject.incarnation)[11])
    while int(state(subject.incarnation)[11]) < used + 10:  # ticks of 10 ms
        pass
    life.cancel()
    assert life.failure().code() is grpc.StatusCode.CANCELLED
    assert life.heard == [OPENED, ATTACHED]


def anonymous(incarnation):
    lines = Path(f"/proc/{incarnation.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def test_what_leaks_is_really_taken(subject, device):
    subject.arm(action=faults.LEAK, point=faults.AFTER_EXECUTE, bytes=8 << 20, times=1)
    before = anonymous(subject.incarnation)
    life = Life(subject, device)
    life.lead()
    life.end()
    assert anonymous(subject.incarnation) >= before + (8 << 20)


def test_it_ends_by_itself_with_status_1(subject, device):
    subject.arm(action=faults.EXIT, point=faults.AFTER_EXECUTE)
    life = Life(subject, device)
    life.lead([OPENED, ATTACHED])
    assert life.failure().code() is grpc.StatusCode.UNAVAILABLE
    assert subject.incarnation.process.wait(60) == 1


@pytest.mark.parametrize(
    ("point", "answered"),
    [
        (faults.AFTER_RECEIVE, [[2, 3]]),
        (faults.BEFORE_EXECUTE, [[1], [2, 3]]),
        (faults.AFTER_EXECUTE, [[1], [2, 3]]),
        (faults.MID_BATCH, [[0], [2, 3]]),
        (faults.BEFORE_REPLY, [[2, 3]]),
        (faults.REPLAY_RECEIVED, [[2, 3]]),
        (faults.REPLAY_EXECUTED, [[1], [2, 3]]),
    ],
)
def test_an_answer_that_is_dropped_never_leaves(subject, disk, point, answered):
    subject.arm(action=faults.DROP, point=point, times=1)
    stream = subject.incarnation.attach(disk.model, disk.spec)
    stream.next()
    stream.submit(*disk.batch(0), replay=True)
    stream.submit(*disk.batch(2))
    for slots in answered:
        assert [c.slot for c in stream.completions().completions] == slots
    assert disk.done() == 4
    stream.close()


def test_answers_to_attaching_can_be_dropped(subject, device):
    subject.arm(action=faults.DROP, point=faults.OPENED)
    subject.arm(action=faults.DROP, point=faults.ATTACHED)
    stream = subject.incarnation.attach(device.model, device.spec)
    stream.submit(*device.batch(0))
    assert stream.any().HasField("completions")
    stream.close()


def test_a_console_that_dropped_an_answer_says_nothing_more(subject, log):
    subject.arm(action=faults.DROP, point=faults.BEFORE_EXECUTE, times=1)
    stream = subject.incarnation.attach(log.model, log.spec)
    stream.next()
    stream.submit(*log.batch(0))
    stream.submit(*log.batch(2))
    stream.close()  # which finds no answer left


@pytest.mark.parametrize(
    ("garble", "epoch", "answers"),
    [
        (faults.EPOCH, 2, [(0, 7, 1), (1, 7, 1)]),
        (faults.SLOT, 1, [(1 << 31, 7, 1), (1, 7, 1)]),
        (faults.GENERATION, 1, [(0, 6, 1), (1, 7, 1)]),
        (faults.LENGTH, 1, [(0, 7, 2), (1, 7, 1)]),
        (faults.TWICE, 1, [(0, 7, 1), (1, 7, 1)]),
    ],
)
def test_an_answer_is_wrong_as_asked(subject, disk, garble, epoch, answers):
    subject.arm(action=faults.GARBLE, point=faults.BEFORE_EXECUTE, garble=garble, times=1)
    stream = subject.incarnation.attach(disk.model, disk.spec)
    stream.next()
    stream.submit(*disk.batch(0))
    for _ in range(1 + (garble == faults.TWICE)):
        completions = stream.next().completions
        heard = [(c.slot, c.generation, c.written) for c in completions.completions]
        assert (completions.epoch, heard) == (epoch, answers)
    stream.submit(*disk.batch(2))
    assert len(stream.completions().completions) == 2
    stream.close()


def test_attached_comes_twice(subject, device):
    subject.arm(action=faults.GARBLE, point=faults.ATTACHED)
    stream = subject.incarnation.attach(device.model, device.spec)
    assert stream.next().HasField("attached")
    assert stream.next().HasField("attached")
    stream.close()


def test_nonsense_comes_before_an_answer(subject, device):
    subject.arm(action=faults.GARBLE, point=faults.MID_BATCH, garble=faults.NONSENSE)
    stream = subject.incarnation.attach(device.model, device.spec)
    stream.next()
    stream.submit(*device.batch(0))
    assert stream.next().HasField("attached")
    assert len(stream.completions().completions) == 2
    stream.close()


def test_a_poisoned_sector_kills_whoever_touches_it(subject, disk):
    subject.arm(action=faults.KILL, point=faults.BEFORE_EXECUTE, sector=5, only_sector=True, nth=2)
    stream = subject.incarnation.attach(disk.model, disk.spec)
    stream.next()
    for first in (0, 2, 4, 6):
        stream.submit(*disk.batch(first))
        stream.completions()
    stream.submit(*disk.batch(4))
    assert stream.refusal()[0] is grpc.StatusCode.UNAVAILABLE
    assert subject.incarnation.process.wait(60) == -signal.SIGKILL


def test_a_poisoned_sector_kills_whoever_gives_it_up(subject, disk):
    subject.arm(action=faults.KILL, point=faults.AFTER_REPLY, sector=5, only_sector=True)
    stream = subject.incarnation.attach(disk.model, disk.spec)
    stream.next()
    for segments in ([(0, 5), (6, 4)], [(9, 1), (4, 2)]):
        header = struct.pack("<IIQ", DISCARD, 0, 5)
        payload = b"".join(struct.pack("<QII", *segment, 0) for segment in segments)
        size = len(payload)
        stream.submit(
            Request(header=header, readable=size, writable=1, inlined=True, payload=payload)
        )
        stream.completions()
    assert stream.refusal()[0] is grpc.StatusCode.UNAVAILABLE
    assert subject.incarnation.process.wait(60) == -signal.SIGKILL


def test_requests_that_a_console_holds_are_answered_as_usual(subject, tmp_path):
    subject.arm(action=faults.SLOW, point=faults.AFTER_REPLY, delay_us=1)
    stream = subject.incarnation.attach("console", f"log:path={tmp_path}/log")
    stream.next()
    stream.submit(Request(slot=0, queue=0, writable=8, inlined=True))
    stream.reset()
    assert [(c.slot, c.written) for c in stream.completions().completions] == [(0, 0)]
    subject.wait_until_acted()
    assert subject.listed()[0].passed == 1
    stream.close()
