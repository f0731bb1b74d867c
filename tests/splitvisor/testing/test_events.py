"""Messages become events, and waiting for them."""

import threading

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.testing.events import Event, Story, kinds, translate


def test_kinds_are_the_words_of_the_contracts():
    words = kinds()
    assert {"detected", "stands-by", "recovered", "guest-ended", "device-replayed"} < set(words)
    assert len(words) == len(set(words))
    assert not [word for word in words if word != word.lower() or "_" in word]


def test_of_a_service_os():
    outage = operator.Outage(cause="died", detected=1_000_000, fenced=3_000_000, requests=7)
    message = operator.MachineEvent(
        service=operator.ServiceEvent(
            kind=operator.SERVICE_RECOVERED,
            monotonic_ns=2_500_000_000,
            service="storage",
            pid=17,
            epoch=3,
            outage=outage,
        )
    )
    event = translate(message)
    assert (event.kind, event.at) == ("recovered", 2.5)
    assert (event.service, event.pid, event.epoch) == ("storage", 17, 3)
    assert event.outage is not None
    assert (event.outage.steps_ms(), event.outage.requests) == ({"detect": 0.0, "fence": 2.0}, 7)
    assert str(event) == "recovered storage epoch 3 pid 17"


def test_of_the_core():
    message = operator.MachineEvent(
        core=core.Event(
            kind=core.EVENT_DEVICE_REPLAYED, guest="web", device="disk0", count=32, epoch=2
        )
    )
    event = translate(message)
    assert (event.kind, event.device, event.count) == ("device-replayed", "web/disk0", 32)
    assert str(event) == "device-replayed web/disk0 epoch 2 32"
    ended = core.Event(kind=core.EVENT_GUEST_ENDED, guest="web", exit_status=4)
    event = translate(operator.MachineEvent(core=ended))
    assert (event.kind, event.device, event.status) == ("guest-ended", "web", 4)


def test_each_event_is_taken_once_and_kinds_do_not_mix():
    story = Story()
    for number, kind in enumerate(["fenced", "recovered", "fenced"]):
        story.add(Event(kind, 0.0, epoch=number))
    taken = [story.take(kind) for kind in ("fenced", "recovered", "fenced", "fenced")]
    assert [event and event.epoch for event in taken] == [0, 1, 2, None]
    story.add(Event("fenced", 0.0, epoch=9))
    assert story.take("fenced") == Event("fenced", 0.0, epoch=9)


def test_who_waits_is_woken_by_what_happens():
    story, looked = Story(), threading.Event()

    def look():
        looked.set()
        return story.take("fenced")

    thread = threading.Thread(target=lambda: looked.wait(60) and story.add(Event("fenced", 1.0)))
    thread.start()
    assert story.wait(look, 60) == Event("fenced", 1.0)
    thread.join()
    assert story.wait(look, 0) is None
