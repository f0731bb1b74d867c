"""A network card's session: batches, the inbox and its bound, the link, the end."""

import queue
import threading

import pytest

from drivers.interface import MediumError
from protos.io_pb2 import Activate, CoreMessage, Reset
from service_os.framed import BACKLOG, Session
from service_os.models.net import CONFIG, RECEIVEQ, TRANSMITQ, NetModel
from service_os.window import Window

HEADER = bytes(12)
FRAME = b"\x52" * 60
PATIENCE = 30.0


class Cable:
    """A driver that notes what is sent, and whose other end the test holds."""

    mac, mtu = bytes(6), 1500

    def __init__(self):
        self.link, self.batches, self.problem = True, [], None
        self.started = threading.Event()

    def send(self, frames):
        self.batches.append([bytes(frame) for frame in frames])
        if self.problem:
            raise MediumError(self.problem)

    def start(self, deliver, changed):
        self.deliver, self.changed = deliver, changed
        self.started.set()


class Card:
    """A session that runs; the core's side is the test's."""

    def __init__(self):
        self.cable = Cable()
        self.model = NetModel(self.cable)
        window = Window(memoryview(b""), 0)
        self.session = Session(self.model, self.cable, window, name="g/net0", epoch=9)
        self._messages, self._replies = queue.SimpleQueue(), queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        for reply in self.session.answer(iter(self._messages.get, None)):
            self._replies.put(reply)

    def say(self, message):
        self._messages.put(message)

    def offer(self, *slots, size=2048):
        message = CoreMessage()
        for slot in slots:
            message.batch.requests.add(slot=slot, queue=RECEIVEQ, writable=size, inlined=True)
        self.say(message)

    def send(self, *slots, frame=FRAME):
        message = CoreMessage()
        for slot in slots:
            message.batch.requests.add(
                slot=slot,
                queue=TRANSMITQ,
                header=HEADER,
                readable=len(frame),
                payload=frame,
                inlined=True,
            )
        self.say(message)

    def reply(self):
        return self._replies.get(timeout=PATIENCE)

    def completed(self):
        """Slots of the next answer, with the frames of those that have one."""
        completions = self.reply().completions
        assert completions.epoch == 9
        assert not completions.HasField("state")
        return [(done.slot, done.payload[12:]) for done in completions.completions]

    def end(self):
        self._messages.put(None)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self._replies.empty()


@pytest.fixture
def card():
    made = Card()
    yield made
    if made._thread.is_alive():
        made.end()


def test_a_batch_goes_out_at_once_and_is_completed_in_one_message(card):
    card.send(1, 2, 3)
    assert card.completed() == [(1, b""), (2, b""), (3, b"")]
    assert card.cable.batches == [[FRAME] * 3]


def test_frames_that_arrive_together_are_one_message(card):
    card.offer(*range(10))
    assert card.cable.started.wait(PATIENCE)
    frames = [bytes([n]) * 60 for n in range(10)]
    card.cable.deliver(frames)
    assert card.completed() == list(enumerate(frames))


def test_nothing_is_asked_of_the_driver_before_the_guest_takes_frames(card):
    card.say(CoreMessage(activate=Activate(features=1 << 15)))
    card.send(1)
    card.completed()
    assert not card.cable.started.is_set()


def test_what_the_guest_does_not_take_is_bounded_and_counted(card, capsys):
    card.offer(0)
    assert card.cable.started.wait(PATIENCE)
    frames = [n.to_bytes(4, "big") * 15 for n in range(BACKLOG + 10)]
    card.cable.deliver(frames[:1])
    assert card.completed() == [(0, frames[0])]
    for at in range(1, BACKLOG + 10, 7):
        card.cable.deliver(frames[at : at + 7])
    card.offer(*range(1, 200))
    assert card.completed() == [(n, frames[n]) for n in range(1, 200)]
    card.end()
    assert "g/net0 that were dropped: 9 more than the guest took" in capsys.readouterr().err


def test_frames_for_a_guest_that_resets_its_card_are_forgotten(card):
    card.offer(1, 2)
    assert card.cable.started.wait(PATIENCE)
    card.cable.deliver([FRAME])
    assert card.completed() == [(1, FRAME)]
    card.say(CoreMessage(reset=Reset()))
    assert card.completed() == [(2, b"")]
    card.cable.deliver([FRAME])
    card.offer(3)
    card.send(4)  # a turn that has seen the buffer
    assert card.completed() == [(4, b"")]
    card.cable.deliver([FRAME[::-1]])
    assert card.completed() == [(3, FRAME[::-1])]


def test_a_change_of_the_link_is_told(card):
    card.offer(1)
    assert card.cable.started.wait(PATIENCE)
    card.cable.link = False
    card.cable.changed()
    config = card.reply().config_change.config_space
    assert CONFIG.unpack(config) == (bytes(6), 0, 1, 1500)
    card.cable.link = True
    card.cable.changed()
    assert CONFIG.unpack(card.reply().config_change.config_space)[1] == 1


def test_a_driver_that_cannot_send_is_told_of_once_and_the_guest_goes_on(card, capsys):
    card.cable.problem = "tap0 is down"
    for slot in range(3):
        card.send(slot)
        assert card.completed() == [(slot, b"")]
    card.cable.problem = None
    card.send(4)
    card.completed()
    card.end()
    assert capsys.readouterr().err.splitlines() == [
        "network output of g/net0 is lost: tap0 is down",
        "network output of g/net0 works again",
    ]


def test_frames_after_the_end_go_nowhere(card):
    card.offer(1)
    assert card.cable.started.wait(PATIENCE)
    card.end()
    card.cable.deliver([FRAME])
    card.cable.changed()


def test_what_was_dropped_is_told_at_the_end(card, capsys):
    card.send(1, frame=b"short")
    assert card.completed() == [(1, b"")]
    card.send(2)
    assert card.completed() == [(2, b"")]
    card.end()
    assert capsys.readouterr().err == (
        "frames of g/net0 that were dropped: 1 sent with a wrong length\n"
    )
    assert card.cable.batches == [[FRAME]]
