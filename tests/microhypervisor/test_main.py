"""The core as a process: how it starts, what it leaves behind, how it ends."""

import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest

from protos import core_pb2 as pb
from tests.microhypervisor import core as guests
from tests.microhypervisor.core import MIB, PATIENCE, Core, until


def start(*arguments):
    """Run the core with arguments that must fail."""
    command = [sys.executable, "-m", "microhypervisor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def is_mistake(result, *words):
    lines = result.stderr.splitlines()
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr
    assert all(word in lines[-1] for word in words), lines


def test_sigterm_ends_guests_removes_the_socket_and_tells_watchers(core, cpu):
    core.create("spinner", cpu, guests.SPINS)
    events = core.watch()
    core.call("Start", "spinner")
    core.create("created", cpu, guests.SPINS)
    assert core.terminate() == 0
    assert not core.socket.exists()
    kinds = [(event.kind, event.guest) for event in events]
    assert (pb.EVENT_GUEST_ENDED, "spinner") in kinds
    assert (pb.EVENT_GUEST_DESTROYED, "created") in kinds


def test_sigterm_ends_a_core_whose_loader_hangs(core):
    core.create("tiny", "emulated", guests.SPINS)
    begun, stop = threading.Event(), threading.Event()

    def chunks():
        yield pb.MemoryChunk(guest="tiny", address=0, data=b"x")
        begun.set()
        stop.wait(PATIENCE)

    loading = core.stub.LoadGuest.future(chunks())
    try:
        assert begun.wait(PATIENCE)
        core.process.terminate()
        assert core.process.wait(PATIENCE / 2) == 0  # the loader hangs longer
    finally:
        core.process.kill()
        stop.set()
        with pytest.raises(grpc.RpcError):
            loading.result()


def test_only_its_user_may_open_the_socket(tmp_path):
    core = Core(tmp_path, umask=0)
    try:
        assert core.socket.stat().st_mode & 0o077 == 0
    finally:
        core.close()


def test_it_dies_with_its_launcher(tmp_path):
    launcher = (
        "import subprocess, sys, os\n"
        "ready, w = os.pipe()\n"
        "core = subprocess.Popen([sys.executable, '-m', 'microhypervisor',\n"
        f"  '--listen={tmp_path}/core.sock', f'--ready-fd={{w}}'], pass_fds=[w])\n"
        "os.read(ready, 1)\n"
        "print(core.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", launcher], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    core = os.pidfd_open(int(process.stdout.readline()))
    process.kill()
    process.communicate()
    assert select.select([core], [], [], PATIENCE)[0], "the core lives on"
    os.close(core)


def test_the_ready_descriptor_gets_one_byte(tmp_path):
    ready, write = os.pipe()
    command = [sys.executable, "-m", "microhypervisor", f"--listen={tmp_path}/core.sock"]
    process = subprocess.Popen([*command, f"--ready-fd={write}"], pass_fds=[write])
    os.close(write)
    with open(ready, "rb") as file:
        assert len(file.read()) == 1  # and then it is closed
    process.terminate()
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--pcpus", "0,many"),
        ("--pcpus", "-1"),
        ("--pcpus", "many"),
        ("--memory-budget", "-5"),
        ("--ready-fd", "77"),
        ("--no-such-option",),
    ],
    ids=" ".join,
)
def test_mistakes_on_the_command_line(tmp_path, arguments):
    listen = [f"--listen={tmp_path}/core.sock"] if arguments else []
    is_mistake(start(*listen, *arguments))
    assert not (tmp_path / "core.sock").exists()


def test_a_socket_path_that_is_too_long(tmp_path):
    path = tmp_path / ("n" * 120)
    is_mistake(start("--listen", path), str(path))


def test_a_directory_that_does_not_exist(tmp_path):
    path = tmp_path / "absent" / "core.sock"
    is_mistake(start("--listen", path), str(path))


def test_a_file_in_the_way_is_left_alone(tmp_path):
    path = tmp_path / "disk.img"
    path.write_text("precious")
    is_mistake(start("--listen", path), str(path))
    assert path.read_text() == "precious"


def test_a_socket_that_somebody_serves_is_left_to_them(tmp_path):
    path = tmp_path / "core.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))
        server.listen()
        is_mistake(start("--listen", path), str(path))
        assert path.exists()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(path))


def footprint(core):
    """File descriptors, threads and mappings of guests' memory."""
    proc = Path(f"/proc/{core.process.pid}")
    maps = (proc / "maps").read_text().splitlines()
    memory = [line for line in maps if "memfd" in line or "kvm" in line]
    return len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir())), len(memory)


def test_fifty_guests_come_and_go_and_leave_nothing(core, cpu):
    def cycle(n):
        name = f"guest{n}"
        core.run(name, cpu, guests.COUNTS, vcpus=2)
        core.call("Destroy", name)

    for n in range(10):  # pools and caches fill
        cycle(n)
    before = footprint(core)
    for n in range(50):
        cycle(n)
    after = footprint(core)
    assert after[0] == before[0]
    assert after[1] <= before[1] + 2  # the pool of calls grows up to its size
    assert after[2] == before[2]


def test_more_vcpus_than_pcpus(tmp_path, cpu):
    core = Core(tmp_path, "--pcpus=0")
    try:
        events = core.watch()
        for n in range(3):
            core.create(f"spinner{n}", cpu, guests.SPINS)
            core.call("Start", f"spinner{n}")
        core.create("counter", cpu, guests.COUNTS)
        core.call("Start", "counter")
        assert until(events, pb.EVENT_GUEST_ENDED).exit_status == 1000
        for n in range(3):  # the last may not have had a turn before the counter was done
            while not core.status(f"spinner{n}").vcpus[0].exits:
                os.sched_yield()
            core.call("Pause", f"spinner{n}")
    finally:
        core.close()


def test_the_budget_is_what_the_host_has_unless_told(core):
    budget = core.stub.Describe(pb.DescribeRequest()).memory_budget
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        total = int(meminfo.readline().split()[1]) << 10
    assert 16 * MIB < budget <= total
