"""A thousand guests with devices come and go, and the core is as it was.

Files are exact, and threads but for gRPC's, once the pool of those that serve calls is full. Memory
is, but for the log of events, which keeps the newest 4096 of them and is filled first (with events
that are smaller than those of guests, by some 250 bytes each), and for what the allocator adds: it
is told to use one arena and to give back what is free. MARGIN is both. It is 2 KiB for each guest
in between, less than anything that a guest could leave behind: the sessions of its devices alone
are tens of KiB.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from microhypervisor.limits import EVENT_BACKLOG
from protos import core_pb2 as pb
from tests.microhypervisor import core as guests
from tests.microhypervisor.core import Core, ServiceOs

CYCLES = {"kvm": 1000, "emulated": 120}
ROUND = 10  # guests between two looks
AT_ONCE = 2
WARM_UP = 50  # guests
MARGIN = 2 << 20  # bytes
GRPC_THREADS = 2  # come and go for reasons of gRPC's own
MAPPINGS = 8 + 2 * GRPC_THREADS  # of the allocator, while it grows, and of those threads
WATCHERS = 8  # each takes a thread of the pool that serves calls
TIDY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "4096",
    "MALLOC_MMAP_THRESHOLD_": "65536",
}

DEVICES = [
    pb.DeviceConfig(
        name="disk",
        service="main",
        model="block",
        spec="memory:size=64K",
        virtio=pb.VirtioMmio(base=0xD0000000, irq=5),
    ),
    pb.DeviceConfig(
        name="com1",
        service="main",
        model="uart",
        spec="log:path=/dev/null",
        ports=pb.PortRange(base=0x3F8, count=8, irq=4),
    ),
]


@dataclass(frozen=True)
class Footprint:
    """Of the core, while it has no guest."""

    files: int
    threads: int
    maps: int
    memory: int  # bytes resident that are the process's own


def footprint(core):
    proc = Path(f"/proc/{core.process.pid}")
    anonymous = re.search(r"RssAnon:\s+(\d+) kB", (proc / "status").read_text())
    return Footprint(
        files=len(list((proc / "fd").iterdir())),
        threads=len(list((proc / "task").iterdir())),
        maps=len((proc / "maps").read_text().splitlines()),
        memory=int(anonymous[1]) << 10,
    )


@pytest.fixture
def core(tmp_path):
    core = Core(tmp_path, env={**os.environ, **TIDY})
    service = ServiceOs(core, tmp_path, 1)
    assert not service.connect().problems
    yield core
    core.close()
    service.kill()


def fill(core, cpu):
    """Have the core keep what it keeps anyway: threads for calls, the newest events."""
    watches = [core.watch() for _ in range(WATCHERS)]
    core.create("idle", cpu, guests.HALTS)
    core.call("Start", "idle")
    for _ in range(EVENT_BACKLOG // 2):
        core.call("Pause", "idle")
        core.call("Resume", "idle")
    for watch in watches:
        watch.cancel()
    core.call("Destroy", "idle")


@pytest.mark.timeout(300)
def test_guests_come_and_go_and_leave_nothing(core, cpu):
    def live(number):
        """One guest, destroyed while it runs, or not even started."""
        name = f"guest{number}"
        core.create(
            name, cpu, guests.COUNTS, devices=DEVICES[number % 2 :], vcpus=1 + number % 3 % 2
        )
        if number % 10:
            core.call("Start", name)
        core.call("Destroy", name)

    fill(core, cpu)
    looks = []
    with ThreadPoolExecutor(AT_ONCE) as callers:
        for first in range(0, CYCLES[cpu], ROUND):
            list(callers.map(live, range(first, first + ROUND)))
            looks.append(footprint(core))
    few = WARM_UP // ROUND
    early, late = looks[few : 2 * few], looks[-few:]
    assert late[-1].files == early[-1].files
    assert late[-1].threads <= early[-1].threads + GRPC_THREADS
    assert late[-1].maps <= early[-1].maps + MAPPINGS
    grown = min(look.memory for look in late) - min(look.memory for look in early)
    assert grown <= MARGIN, [look.memory >> 10 for look in looks]
