"""When signals are noted and when they come through, with real signals to ourselves."""

import os
import signal

import pytest
import trio

from splitvisor.supervisor import ending


@pytest.fixture
def arrived():
    """The signals that arrive where they would without anybody who holds them."""
    numbers = []
    before = {n: signal.signal(n, lambda n, _: numbers.append(n)) for n in ending.SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ending.SIGNALS)
def test_a_signal_is_held_until_the_end(arrived, number):
    with ending.held():
        os.kill(os.getpid(), number)
        assert arrived == []
    assert arrived == [number]


def test_who_listens_gets_those_that_came_before_and_each_once(arrived):
    async def listen(noted):
        with trio.open_signal_receiver(*ending.SIGNALS) as signals:
            noted.deliver()
            signal.raise_signal(signal.SIGINT)
            assert {await anext(signals), await anext(signals)} == {signal.SIGTERM, signal.SIGINT}

    with ending.held() as noted:
        signal.raise_signal(signal.SIGTERM)
        trio.run(listen, noted)
    assert arrived == []


def test_one_that_nobody_took_is_delivered_in_the_end(arrived):
    async def deaf():
        with trio.open_signal_receiver(*ending.SIGNALS):
            signal.raise_signal(signal.SIGHUP)

    with ending.held():
        trio.run(deaf)
        assert arrived == []
    assert arrived == [signal.SIGHUP]
