"""A vCPU that does what the test says, and a count of how many run at once."""

import os
import threading
import time

from microhypervisor.cpu.protocol import Stop
from microhypervisor.sched.policy import Parameters
from microhypervisor.sched.task import Task

PATIENCE = 60  # seconds; only a failing test waits so long


def eventually(holds):
    """Let other threads go on until `holds()`."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        os.sched_yield()


class Gauge:
    """How many vCPUs execute guest code now, and how many at most ever did."""

    def __init__(self):
        self.now = self.peak = 0
        self._lock = threading.Lock()

    def __enter__(self):
        with self._lock:
            self.now += 1
            self.peak = max(self.peak, self.now)

    def __exit__(self, *_):
        with self._lock:
            self.now -= 1


class ScriptedVcpu:
    """Each run() calls `script(self)`, by default `spin`; kicks are latched as a real one's are."""

    def __init__(self, index=0, script=None, gauge=None):
        self.index = index
        self.exits = {"port": 0}
        self.wake = None
        self.awake = True
        self.laps = 0  # runs that reached guest code
        self.gauge = gauge or Gauge()
        self.script = script or ScriptedVcpu.spin
        self._kicked = threading.Event()

    def run(self, bus):
        if self.take_kick():
            return Stop.KICKED
        with self.gauge:
            self.laps += 1
            return self.script(self)

    def spin(self):
        """Execute guest code until kicked."""
        assert self._kicked.wait(PATIENCE), "never kicked"
        self._kicked.clear()
        return Stop.KICKED

    def take_kick(self):
        if kicked := self._kicked.is_set():  # or one that comes right now would be lost
            self._kicked.clear()
        return kicked

    def kick(self):
        self._kicked.set()

    def runnable(self):
        return self.awake

    def report(self):
        return f"vCPU {self.index}: scripted"


class ScriptedTask(Task):
    """Its thread sleeps where a real one computes, which is not to be taken for lost time."""

    def unused_ns(self, now):
        return 0


class Machine:
    """Scripted vCPUs on a scheduler; leaves no thread behind."""

    def __init__(self, scheduler):
        self.scheduler = scheduler
        self.tasks = []
        self.stops = []

    def start(self, *vcpus, sleeps_inside=False, **parameters):
        said = Parameters(**parameters)
        tasks = [ScriptedTask(f"test/{vcpu.index}", vcpu, sleeps_inside, said) for vcpu in vcpus]
        self.scheduler.add(tasks)
        self.tasks += tasks
        for task in tasks:
            self.scheduler.start(task, None, self._stopped)
        return tasks

    def _stopped(self, task, stop):
        self.stops.append((task, stop))
        self.scheduler.end([task])

    def close(self):
        self.scheduler.end(self.tasks)
        for task in self.tasks:
            task.thread.join(PATIENCE)
            assert not task.thread.is_alive(), f"{task.name} did not end: {task.account.state}"
        self.scheduler.remove(self.tasks)
        self.tasks = []
