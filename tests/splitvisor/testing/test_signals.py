"""Signals come after the work, and are not lost."""

import os
import signal
import threading

import pytest

from splitvisor.testing.signals import deferred


def test_an_interrupt_waits_for_the_end_of_the_work():
    done = []

    def work():
        with deferred():
            os.kill(os.getpid(), signal.SIGINT)
            with deferred():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("inner")
            done.append("outer")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_comes_of_no_signal_and_in_threads():
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: deferred().__enter__())
    thread.start()
    thread.join()
    with deferred():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
