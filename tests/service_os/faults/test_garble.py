import pytest

from protos import faults_pb2 as faults
from protos.io_pb2 import Attached, Completion, Request, ServiceMessage
from service_os.faults.garble import NO_SLOT, chosen, garbled

KEY = 3, 9
REQUESTS = {KEY: Request(slot=3, generation=9, writable=513)}
ATTACHED = ServiceMessage(attached=Attached(device_id=2))


def reply(**fields):
    message = ServiceMessage()
    message.completions.epoch = 5
    message.completions.completions.add(slot=1, generation=9, written=1)
    message.completions.completions.add(**{"slot": 3, "generation": 9, "written": 513, **fields})
    return message


def spoilt(kind, **fields):
    """The message that is sent instead, of which only the second completion is to be wrong."""
    (message,) = garbled(reply(**fields), kind, [KEY], REQUESTS, ATTACHED)
    assert message.completions.completions[0] == Completion(slot=1, generation=9, written=1)
    return message.completions


def test_each_kind_is_wrong_in_its_way():
    assert spoilt(faults.EPOCH).epoch == 6
    assert spoilt(faults.SLOT).completions[1].slot == 3 | NO_SLOT
    assert spoilt(faults.GENERATION).completions[1].generation == 8
    assert spoilt(faults.LENGTH).completions[1].written == 514
    inlined = spoilt(faults.LENGTH, payload=bytes(513)).completions[1]
    assert (inlined.written, len(inlined.payload)) == (514, 514)


def test_a_stale_generation_is_one_also_at_zero():
    requests = {(3, 0): Request(slot=3)}
    (message,) = garbled(reply(generation=0), faults.GENERATION, [(3, 0)], requests, ATTACHED)
    assert message.completions.completions[1].generation == 0xFFFFFFFF


def test_twice_and_nonsense_leave_the_answer_as_it_is():
    assert garbled(reply(), faults.TWICE, [KEY], REQUESTS, ATTACHED) == [reply(), reply()]
    assert garbled(reply(), faults.NONSENSE, [KEY], REQUESTS, ATTACHED) == [ATTACHED, reply()]


@pytest.mark.parametrize("kind", [k for k in faults.Garble.values() if k != faults.SOME])
def test_a_kind_that_is_named_is_taken(kind):
    assert chosen(kind, 1, 1) == kind


def test_some_is_any_of_the_others_and_the_same_for_a_seed_and_turn():
    seen = {chosen(faults.SOME, 1, turn) for turn in range(100)}
    assert seen == set(faults.Garble.values()) - {faults.SOME}
    for turn in range(10):
        assert chosen(faults.SOME, 7, turn) == chosen(faults.SOME, 7, turn)
