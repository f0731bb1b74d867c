"""Machines with so many pCPUs, on the host's CPUs in turn."""

import os

import pytest

from microhypervisor.limits import SLICE_NS
from microhypervisor.sched.scheduler import Scheduler
from tests.microhypervisor.sched.scripted import Machine


@pytest.fixture
def machine():
    """A function that makes a machine."""
    made = []

    def make(pcpus, policy="round_robin"):
        cpus = sorted(os.sched_getaffinity(0))
        hosts = [cpus[i % len(cpus)] for i in range(pcpus)]
        made.append(Machine(Scheduler(hosts, policy, SLICE_NS)))
        return made[-1]

    yield make
    for each in made:
        each.close()
