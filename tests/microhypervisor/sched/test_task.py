"""What a task knows of its thread: CPU time of real threads."""

import threading
import time

import pytest

from microhypervisor.sched.accounting import State
from microhypervisor.sched.policy import Parameters
from microhypervisor.sched.task import Task
from tests.microhypervisor.sched.scripted import PATIENCE, ScriptedVcpu

MS = 1_000_000


@pytest.fixture
def task():
    return Task("web/0", ScriptedVcpu(), True, Parameters())


def burn(ns):
    """Use that much of the host's CPU."""
    end = time.thread_time_ns() + ns
    while time.thread_time_ns() < end:
        pass


def test_a_new_task_is_paused_and_nowhere(task):
    assert task.account.state is State.PAUSED
    assert task.pcpu is None


class Worker:
    """A thread that burns a millisecond whenever it is told to, and sleeps otherwise."""

    def __init__(self, task):
        self.work, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self.body, args=(task,))
        self.thread.start()
        assert self.done.acquire(timeout=PATIENCE)

    def body(self, task):
        task.clock = time.pthread_getcpuclockid(threading.get_ident())
        self.done.release()
        while self.work.acquire(timeout=PATIENCE) and not task.ended:
            burn(MS)
            self.done.release()

    def burn(self):
        self.work.release()
        assert self.done.acquire(timeout=PATIENCE)


def test_a_thread_that_used_cpu_time_since_the_last_look_was_awake(task):
    assert task.slept()  # it has no thread yet
    worker = Worker(task)
    worker.burn()
    assert not task.slept()
    assert task.slept()  # since that look
    worker.burn()
    assert not task.slept()
    task.ended = True
    worker.work.release()
    worker.thread.join(PATIENCE)
    assert task.slept()  # it is gone


def test_of_a_turn_only_what_its_thread_did_not_run_is_unused(task):
    task.begin(100 * MS)
    burn(20 * MS)
    assert task.unused_ns(110 * MS) == 0
    unused = task.unused_ns(220 * MS)
    assert 50 * MS < unused <= 100 * MS
    task.begin(300 * MS)  # the next turn begins anew
    assert task.unused_ns(300 * MS) == 0
