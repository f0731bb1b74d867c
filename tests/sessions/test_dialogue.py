"""The protocol by itself: no threads, no channel, every message in the test's hand."""

import pytest

from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault
from protos import core_pb2 as pb
from protos import io_pb2
from sessions.dialogue import Dialogue, Phase
from tests.sessions.service import Rig, described

OPENED = io_pb2.ServiceMessage(opened=io_pb2.Opened())
ATTACHED = io_pb2.ServiceMessage(attached=described(patience_ms=70, failure=b"\1"))
CONFIG_CHANGE = io_pb2.ServiceMessage(config_change=io_pb2.ConfigChange(config_space=bytes(8)))


def completions(*requests, epoch=1):
    message = io_pb2.ServiceMessage()
    message.completions.epoch = epoch
    for request in requests:
        message.completions.completions.add(slot=request.slot, generation=request.generation)
    return message


class Talk:
    """A device with a driver, and dialogues about it one after the other."""

    def __init__(self, memory):
        self.rig = Rig(memory, inline=True)
        self.device: VirtioDevice = self.rig.device
        self.steps = []

    def next(self, epoch=1):
        endpoint = pb.ServiceEndpoint(epoch=epoch, token="t")
        self.dialogue = Dialogue(self.device, endpoint, lambda *step: self.steps.append(step))
        return self.dialogue

    def said(self):
        """All that is said now, as kinds; the last batch is kept."""
        kinds = []
        while message := self.dialogue.next_message():
            kinds.append(message.WhichOneof("body"))
            if message.HasField("batch"):
                self.batch = message.batch
        return kinds

    def attach(self, epoch=1):
        dialogue = self.next(epoch)
        dialogue.begin()
        assert self.said() == ["attach", "begin"]
        dialogue.heard(OPENED)
        dialogue.heard(ATTACHED)
        return dialogue


@pytest.fixture
def talk(memory):
    talk = Talk(memory)
    yield talk
    talk.rig.close()


def test_it_stands_by_until_it_is_to_begin(talk):
    dialogue = talk.next()
    assert talk.said() == ["attach"]
    assert dialogue.phase is Phase.OPENING
    dialogue.heard(OPENED)
    assert dialogue.phase is Phase.OPENED
    talk.device.state = b"of now"
    assert talk.said() == []
    assert dialogue.begin()
    assert talk.said() == ["begin"]
    assert dialogue.phase is Phase.BEGUN
    dialogue.heard(ATTACHED)
    assert dialogue.phase is Phase.ATTACHED
    assert talk.steps == [(pb.EVENT_DEVICE_OPENED, 0), (pb.EVENT_DEVICE_ATTACHED, 0)]
    assert (talk.device.patience_ms, talk.device.failure) == (70, b"\1")
    assert not talk.device.served
    assert talk.said() == []
    assert talk.device.served


def test_the_state_of_the_moment_goes_with_begin(talk):
    dialogue = talk.next()
    dialogue.next_message()
    dialogue.heard(OPENED)
    talk.device.state = b"of now"
    dialogue.begin()
    assert dialogue.next_message().begin.state == b"of now"


def test_begin_may_be_said_before_it_is_opened(talk):
    dialogue = talk.next()
    dialogue.begin()
    assert talk.said() == ["attach", "begin"]
    assert dialogue.phase is Phase.OPENING
    dialogue.heard(OPENED)
    assert dialogue.phase is Phase.BEGUN


@pytest.fixture
def owing(talk):
    """An incarnation has gone with two requests; the next has opened the device."""
    first = talk.attach()
    talk.rig.start()
    talk.rig.submit(0, 1)
    talk.said()
    first.close()
    talk.next(epoch=2)
    talk.said()
    talk.dialogue.heard(OPENED)
    return talk


def test_what_was_in_flight_goes_with_begin_and_nothing_new_before_attached(owing):
    dialogue = owing.dialogue
    dialogue.begin()
    begin = dialogue.next_message().begin
    assert begin.HasField("activate")
    assert (begin.replay.epoch, begin.replay.replay) == (2, True)
    assert [r.slot for r in begin.replay.requests] == [0, 1]
    owing.rig.submit(2)
    assert owing.said() == []
    dialogue.heard(ATTACHED)
    assert owing.said() == []
    dialogue.heard(completions(*begin.replay.requests, epoch=2))
    assert owing.said() == ["batch"]
    assert [r.slot for r in owing.batch.requests] == [2]


def test_what_goes_with_begin_is_not_answered_before_attached(owing):
    owing.dialogue.begin()
    begin = owing.dialogue.next_message().begin
    with pytest.raises(PeerFault, match="before it attached"):
        owing.dialogue.heard(completions(*begin.replay.requests, epoch=2))
    assert owing.device.served
    owing.dialogue.close()
    assert not owing.device.served


def test_one_that_begins_alone_attaches_first(owing):
    owing.dialogue.begin(alone=True)
    begin = owing.dialogue.next_message().begin
    assert not begin.HasField("activate")
    assert not begin.replay.requests
    assert owing.said() == []
    owing.dialogue.heard(ATTACHED)
    assert owing.said() == ["activate", "batch"]


@pytest.mark.parametrize("message", [ATTACHED, completions(), CONFIG_CHANGE])
@pytest.mark.parametrize("begun", [False, True])
def test_before_it_is_opened_nothing_else_is_believed(talk, message, begun):
    dialogue = talk.next()
    if begun:
        dialogue.begin()
    talk.said()
    with pytest.raises(PeerFault, match="before it"):
        dialogue.heard(message)
    assert talk.steps == []


@pytest.mark.parametrize("message", [ATTACHED, completions(), CONFIG_CHANGE, OPENED])
def test_a_standby_that_does_not_wait_is_not_believed(talk, message):
    dialogue = talk.next()
    talk.said()
    dialogue.heard(OPENED)
    with pytest.raises(PeerFault, match=r"before it|twice"):
        dialogue.heard(message)
    assert dialogue.phase is Phase.OPENED


@pytest.mark.parametrize("message", [OPENED, ATTACHED])
def test_attached_is_said_once(talk, message):
    dialogue = talk.attach()
    with pytest.raises(PeerFault, match="twice"):
        dialogue.heard(message)


def test_a_failure_of_a_page_is_refused(talk):
    dialogue = talk.next()
    dialogue.begin()
    talk.said()
    dialogue.heard(OPENED)
    with pytest.raises(PeerFault, match="4096 bytes of failure"):
        dialogue.heard(io_pb2.ServiceMessage(attached=described(failure=bytes(4096))))
    assert dialogue.phase is Phase.BEGUN


def test_the_first_completion_of_an_incarnation_is_told_once(talk):
    dialogue = talk.attach()
    talk.rig.start()
    talk.rig.submit(0, 1)
    assert talk.said() == ["activate", "batch"]
    requests = list(talk.batch.requests)
    dialogue.heard(completions(requests[0], epoch=7))  # refused
    assert (pb.EVENT_DEVICE_RESUMED, 0) not in talk.steps
    for request in requests:
        dialogue.heard(completions(request))
    assert talk.steps.count((pb.EVENT_DEVICE_RESUMED, 0)) == 1
    dialogue.close()
    talk.rig.submit(2)
    second = talk.attach(epoch=2)
    talk.said()
    second.heard(completions(*talk.batch.requests, epoch=2))
    assert talk.steps.count((pb.EVENT_DEVICE_RESUMED, 0)) == 2


def test_replay_is_told_though_nothing_was_in_flight_but_not_of_the_first(talk):
    first = talk.attach()
    assert talk.said() == []
    first.close()
    assert not talk.device.served
    talk.steps.clear()
    talk.attach(epoch=2)
    assert talk.said() == []
    assert talk.steps[-1] == (pb.EVENT_DEVICE_REPLAYED, 0)


def test_what_is_answered_before_it_is_asked_again_does_not_hold_up_the_rest(talk):
    """A service OS that guesses slots and generations harms nobody but itself."""
    first = talk.attach()
    talk.rig.start()
    talk.rig.submit(0)
    assert talk.said() == ["activate", "batch"]
    guessed = completions(*talk.batch.requests, epoch=2)
    first.close()
    talk.rig.submit(1)
    second = talk.attach(epoch=2)
    assert second.next_message().HasField("activate")  # the replay is decided on
    second.heard(guessed)
    assert talk.said() == ["batch"]
    assert [r.slot for r in talk.batch.requests] == [1]


def test_what_is_answered_before_it_was_asked_is_not_asked_with_what_is_there_by_then(
    talk, monkeypatch
):
    monkeypatch.setattr("sessions.dialogue.MAX_BATCH", 1)
    dialogue = talk.attach()
    talk.rig.start()
    talk.said()
    talk.rig.submit(0, 1)
    (first,) = dialogue.next_message().batch.requests
    early = io_pb2.ServiceMessage()
    early.completions.epoch = 1
    early.completions.completions.add(slot=1 - first.slot, generation=first.generation + 1)
    dialogue.heard(early)
    assert talk.rig.done() == [1]
    assert talk.said() == []


def test_an_end_follows_what_was_to_be_said(talk):
    dialogue = talk.attach()
    assert talk.said() == []
    assert not dialogue.finished
    dialogue.end()
    talk.rig.start()
    assert talk.said() == ["end"]
    assert dialogue.finished
    assert dialogue.phase is Phase.ATTACHED  # answers may still come
    dialogue.close()
    assert dialogue.phase is Phase.OVER
    assert not dialogue.begin()
