"""Reading the kernel's accounts of real threads."""

import os
import threading
import time

from splitvisor.supervisor.threads import pressure, threads_of


def test_a_thread_that_computes_and_one_that_sleeps():
    awake = threading.Event()
    ids = []
    sleeper = threading.Thread(target=lambda: (ids.append(threading.get_native_id()), awake.wait()))
    sleeper.start()
    while not ids:
        os.sched_yield()
    me = threading.get_native_id()
    before = threads_of(os.getpid())
    started = time.thread_time_ns()
    while time.thread_time_ns() < started + 20_000_000:
        pass
    after = threads_of(os.getpid())
    awake.set()
    sleeper.join()
    assert after[me].state == "R"
    assert after[me].run - before[me].run >= 10_000_000  # as of the last tick
    assert after[me].run_delay >= before[me].run_delay
    assert after[ids[0]].state == "S"
    assert after[ids[0]].run - before[ids[0]].run < 10_000_000


def test_a_process_that_is_gone_has_none():
    assert threads_of(2**22 + 1) == {}


def test_pressure_only_grows():
    assert 0 <= pressure() <= pressure()
