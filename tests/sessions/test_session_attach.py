"""Attaching that fails, and what a device may say otherwise than before a death."""

import pytest

from microhypervisor.limits import MAX_STATE
from microhypervisor.virtio import constants as v
from protos import io_pb2
from sessions import session
from sessions.dialogue import Phase
from tests.sessions.service import CONFIG, FEATURE, HEADER, described, running, slots

OTHERS = [
    described(device_id=3),
    described(features=FEATURE << 1),
    described(io_pb2.Queue(max_size=8, header_bytes=HEADER)),
    described(io_pb2.Queue(max_size=16, header_bytes=HEADER), io_pb2.Queue(max_size=8, parks=True)),
    described(io_pb2.Queue(max_size=8, header_bytes=8), io_pb2.Queue(max_size=8, parks=True)),
    described(slots=1),
    described(config_space=CONFIG + b"\0"),
]


@pytest.mark.parametrize("answer", OTHERS)
def test_another_device_than_before_is_refused_and_the_right_one_is_not(rig, answer):
    first = running(rig)
    rig.submit(0)
    first.take_batch()
    rig.lose(first)
    for _ in range(2):
        assert rig.open(answer)
        assert rig.session.phase is Phase.OVER
    third = rig.attach()
    third.take_control("activate")
    assert slots(third.take_batch(replay=True)) == [0]


def test_a_refused_description_does_not_replace_the_state(rig):
    rig.lose(rig.attach(described(state=b"kept")))
    assert rig.open(described(device_id=3, state=b"another's"))
    assert rig.attach(described(state=b"kept")).begin.state == b"kept"


def test_a_configuration_that_changed_over_a_death_is_told_to_the_driver(rig):
    first = running(rig)
    rig.lose(first)
    rig.attach(described(config_space=b"\x40" + CONFIG[1:]))
    assert rig.interrupted() == v.INT_CONFIG
    assert rig.read(v.CONFIG) == 0x40


def test_the_configuration_after_a_death_is_what_the_new_incarnation_says(rig):
    first = running(rig)
    first.say(config_change=io_pb2.ConfigChange(config_space=b"\x40" + CONFIG[1:]))
    assert rig.interrupted() == v.INT_CONFIG
    rig.lose(first)
    rig.attach()  # which knows nothing of the change
    assert rig.interrupted() == v.INT_CONFIG
    assert rig.read(v.CONFIG) == int.from_bytes(CONFIG[:4], "little")


Q = io_pb2.Queue
HOSTILE = {
    "no device": described(device_id=0),
    "a queue of none": described(Q(max_size=0)),
    "a queue of three": described(Q(max_size=3)),
    "a queue too long": described(Q(max_size=2048)),
    "too many slots": described(Q(max_size=1024), Q(max_size=1)),
    "too many queues": described(*[Q(max_size=1)] * 17),
    "a feature of the ring": described(features=v.F_EVENT_IDX),
    "a feature of the transport": described(features=1 << 33),
    "a reserved feature": described(features=1 << 41),
    "a header that would fill the core's memory": described(Q(max_size=8, header_bytes=1 << 31)),
    "a configuration without end": described(config_space=bytes(0xF01)),
    "a state that is too large": described(state=bytes(MAX_STATE + 1)),
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
def test_descriptions_that_make_no_sense_are_refused(rig, answer):
    problem = rig.open(answer)
    assert problem.startswith("device disk: ") or "disk" in problem
    assert "\n" not in problem
    assert rig.losses.empty()  # it never was attached
    rig.attach()  # and the next may do better


def test_no_queues_at_all_are_refused(rig):
    answer = described()
    answer.ClearField("queues")
    assert "makes no sense" in rig.open(answer)


def test_a_refusal_is_passed_on_in_its_own_words(rig):
    assert rig.open("no such driver: use memory") == "no such driver: use memory"
    rig.attach()


@pytest.mark.parametrize(("said", "opens"), [("Attach", False), ("Begin", True)])
def test_a_service_os_that_does_not_answer_has_failed(rig, monkeypatch, said, opens):
    monkeypatch.setattr(session, "ATTACH_TIMEOUT_S", 0.05)
    driver = rig.device.config.spec.partition(":")[0]
    assert rig.open(False, opens=opens) == (
        f"no answer to {said} within 0.05 s: driver {driver!r} does not "
        f"{'begin' if opens else 'open'}; find what it waits for, or give another"
    )
    monkeypatch.undo()
    rig.attach()


def test_a_window_that_nobody_takes_is_a_problem_and_the_next_incarnation_is_not(windowed):
    assert windowed.open(refuse_grant=True) == "nobody takes the window"
    windowed.attach()  # closes the failed session first
