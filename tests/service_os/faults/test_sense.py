import itertools

import pytest

from protos import faults_pb2 as faults
from protos.faults_pb2 import Fault
from service_os.faults.sense import objection

STEPS = [point for point in faults.Point.values() if point != faults.ANYWHERE]


def test_what_happens_to_a_thread_can_happen_at_every_step():
    actions = [a for a in faults.Action.values() if a not in (faults.GARBLE, faults.DROP)]
    for action, point in itertools.product(actions, STEPS):
        assert objection(Fault(action=action, point=point, delay_us=1, bytes=1)) is None


def test_an_answer_can_be_wrong_wherever_there_is_one():
    none = {faults.OPENING, faults.PROMOTION, faults.AFTER_REPLY, faults.CLOSING}
    for action, point in itertools.product((faults.GARBLE, faults.DROP), STEPS):
        text = objection(Fault(action=action, point=point))
        assert (text is None) == (point not in none)
        assert text is None or "name one of opened, attached, after-receive" in text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"action": 99}, "there is no action 99"),
        ({"point": 99}, "there is no point 99"),
        ({"garble": 99}, "there is no way to garble 99"),
        ({"action": faults.HANG}, "hang needs a point: name one but anywhere"),
        ({"action": faults.KILL, "device": "disk0"}, "anywhere is at once and once"),
        ({"action": faults.KILL, "guest": "web"}, "anywhere is at once and once"),
        ({"action": faults.KILL, "nth": 2}, "anywhere is at once and once"),
        ({"action": faults.KILL, "times": 2}, "anywhere is at once and once"),
        ({"action": faults.KILL, "only_sector": True}, "anywhere is at once and once"),
        ({"action": faults.LEAK}, "leak needs bytes"),
        ({"action": faults.LEAK, "point": faults.OPENED}, "leak needs bytes"),
        ({"action": faults.SLOW, "point": faults.OPENED}, "slow needs a delay"),
        ({"point": faults.OPENED, "only_sector": True}, "no request is at opened"),
        (
            {"action": faults.GARBLE, "point": faults.ATTACHED, "garble": faults.LENGTH},
            "garble it with nonsense",
        ),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(fields, text):
    said = objection(Fault(**fields))
    assert text in said
    assert "\n" not in said


def test_what_can_happen_at_once():
    for action in (faults.KILL, faults.STOP, faults.SPIN, faults.EXIT):
        assert objection(Fault(action=action)) is None
    assert objection(Fault(action=faults.LEAK, bytes=1)) is None
