"""When completions of a batch leave."""

import pytest

from protos.io_pb2 import CoreMessage
from service_os import immediate
from service_os.models.base import Shape
from service_os.window import Window

READ = 512


class Slow:
    """A device each of whose requests takes `takes_ns` of a clock that stands still otherwise."""

    shape = Shape(2)

    def __init__(self, takes_ns):
        self.takes_ns = takes_ns
        self.now = 0

    def execute(self, queue, header, readable, writable):
        self.now += self.takes_ns
        return len(writable)


def replies(monkeypatch, takes_ns, requests, writable=READ):
    """How many completions each message has."""
    model = Slow(takes_ns)
    monkeypatch.setattr(immediate, "monotonic_ns", lambda: model.now)
    message = CoreMessage()
    for slot in range(requests):
        message.batch.requests.add(slot=slot, generation=slot, writable=writable, inlined=True)
    answers = immediate.answer(iter([message]), model, Window(memoryview(b""), 0), 1)
    return [len(answer.completions.completions) for answer in answers]


@pytest.mark.parametrize(
    ("takes_ns", "expected"),
    [(0, [20]), (immediate.REPLY_NS // 4, [5] * 4), (immediate.REPLY_NS + 1, [1] * 20)],
)
def test_what_is_done_does_not_wait_for_a_slow_rest(monkeypatch, takes_ns, expected):
    assert replies(monkeypatch, takes_ns, 20) == expected


def test_nor_does_a_lot_of_payload(monkeypatch):
    half = immediate.REPLY_BYTES // 2
    assert replies(monkeypatch, 0, 4, half) == [2, 2]
