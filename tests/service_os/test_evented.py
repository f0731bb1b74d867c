"""How a session of a console ends; what it does before is tested with a process (test_session)."""

import threading

from protos.io_pb2 import CoreMessage, Request
from service_os import immediate
from service_os.evented import Session
from service_os.models.console import ConsoleModel
from service_os.window import Window


class Typed:
    """A console whose input comes when it is told to, from a thread of its own."""

    positional, origin = False, 0

    def __init__(self):
        self._threads = []

    def start(self, deliver, rank):
        self.deliver = deliver

    def type(self, data):
        thread = threading.Thread(target=self.deliver, args=(data,))
        thread.start()
        self._threads.append(thread)

    def close(self):
        for thread in self._threads:
            thread.join()


def session(driver, state=b""):
    model = ConsoleModel(state, 0)
    return Session(model, driver, Window(memoryview(b""), 0), name="g/d", epoch=1, rank=0)


def buffers(*slots):
    message = CoreMessage()
    for slot in slots:
        message.batch.requests.add(slot=slot, queue=0, writable=4, inlined=True)
    return message


def test_input_that_is_fetched_while_the_stream_ends_is_told_as_state():
    driver = Typed()
    ending = session(driver)
    assert list(ending.answer(iter([buffers(0)]))) == []
    driver.type(b"abc")
    driver.type(b"defghi")
    driver.close()
    (reply,) = ending.rest()
    assert [(c.slot, c.payload) for c in reply.completions.completions] == [(0, b"abc")]
    heir = session(driver, reply.completions.state)
    (first,) = heir.answer(iter([buffers(1)]))
    assert first.completions.completions[0].payload == b"defg"


def test_what_is_done_does_not_wait_for_a_slow_rest(monkeypatch):
    monkeypatch.setattr(immediate, "REPLY_NS", -1)
    driver, put_out = Typed(), []
    driver.write = lambda data, position: put_out.append((data, position))
    message = CoreMessage()
    for slot in range(3):
        message.batch.requests.add(slot=slot, queue=1, header=b"ab")
    replies = [reply.completions for reply in session(driver).answer(iter([message]))]
    assert [[c.slot for c in reply.completions] for reply in replies] == [[0], [1], [2]]
    assert put_out == [(b"ab", 0), (b"ab", 2), (b"ab", 4)]
    states = [ConsoleModel(reply.state, 0).take_output()[1] for reply in replies]
    assert states == [2, 4, 6]


def test_there_is_nothing_to_say_when_nothing_was_fetched():
    driver = Typed()
    ending = session(driver)
    request = Request(slot=0, queue=1, inlined=True)
    message = CoreMessage()
    message.batch.requests.append(request)
    assert len(list(ending.answer(iter([message])))) == 1
    assert list(ending.rest()) == []
