"""Locks against other machines and against QEMU's programs, on real files."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor.file_locks import FileLocks

PATIENCE = 30  # seconds; only a failing test waits so long


def machine(*specs, logs=()):
    disks = [Device(f"disk{i}", Model.BLOCK, spec) for i, spec in enumerate(specs)]
    consoles = [Device(f"hvc{i}", Model.CONSOLE, f"log:path={log}") for i, log in enumerate(logs)]
    return Machine("lab", (Guest("web", Path("a.elf"), devices=(*disks, *consoles)),))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "d.img"
    path.write_bytes(bytes(65536))
    return path


@pytest.fixture
def locks():
    with FileLocks() as locks:
        yield locks


@pytest.fixture
def others():
    """Another machine's; in one process they are strangers too."""
    with FileLocks() as locks:
        yield locks


def refusal(locks, wanted):
    with pytest.raises(UserError) as raised:
        locks.take(wanted)
    return str(raised.value)


WRITES, READS = "file:path={}", "file:path={},readonly"


@pytest.mark.parametrize(("first", "second"), [(WRITES, WRITES), (WRITES, READS), (READS, WRITES)])
def test_what_one_machine_writes_is_no_other_ones(locks, others, image, first, second):
    others.take(machine(first.format(image)))
    said = refusal(locks, machine(second.format(image)))
    cure = "stop it first, or open it readonly" if first == READS else "stop it first"
    assert said == f"device web/disk0: file {image} is in use by another process: {cure}"
    others.keep(machine())
    locks.take(machine(second.format(image)))


def test_machines_may_read_one_file(locks, others, image):
    others.take(machine(*[READS.format(image)] * 2))
    locks.take(machine(READS.format(image)))


def test_links_are_the_file(locks, others, image, tmp_path):
    (tmp_path / "soft").symlink_to(image)
    others.take(machine(WRITES.format(image)))
    assert f"{tmp_path}/soft is in use" in refusal(locks, machine(WRITES.format(tmp_path / "soft")))


def test_a_log_is_locked_when_it_is_there(locks, others, tmp_path):
    log = tmp_path / "x.log"
    locks.take(machine(logs=[log]))
    assert not log.exists()
    log.touch()
    locks.keep(machine(logs=[log]))
    assert "device web/hvc0" in refusal(others, machine(logs=[log]))


def test_what_is_in_use_already_when_it_could_be_locked_is_left(locks, others, tmp_path):
    log = tmp_path / "x.log"
    log.touch()
    others.take(machine(logs=[log]))
    locks.keep(machine(logs=[log]))
    others.keep(machine())
    locks.keep(machine(logs=[log]))
    assert "device web/hvc0" in refusal(others, machine(logs=[log]))


def test_a_reader_becomes_a_writer_and_a_writer_a_reader(locks, others, image):
    reader, writer = machine(READS.format(image)), machine(WRITES.format(image))
    locks.take(reader)
    locks.take(writer)
    locks.keep(writer)
    refusal(others, reader)
    locks.take(reader)  # it has more than that
    refusal(others, reader)
    locks.keep(reader)
    others.take(reader)
    refusal(locks, writer)
    locks.keep(reader)
    others.keep(machine())
    refusal(others, writer)  # the first one still reads


def test_devices_and_what_is_not_there_are_never_locked(locks, others, tmp_path):
    for one in (locks, others):
        one.take(machine("memory:size=1M", f"file:path={tmp_path}/none", logs=["/dev/null"]))


def test_where_there_are_no_locks_a_machine_goes_on(locks, image, monkeypatch):
    def fails(fd, command, argument):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("splitvisor.supervisor.file_locks.fcntl.fcntl", fails)
    locks.take(machine(WRITES.format(image)))
    locks.keep(machine(READS.format(image)))


HOLD = """
import sys
from pathlib import Path
from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor.file_locks import FileLocks
disk = Device("disk0", Model.BLOCK, f"file:path={sys.argv[1]}")
with FileLocks() as locks:
    locks.take(Machine("lab", (Guest("web", Path("a.elf"), devices=(disk,)),)))
    print("held", flush=True)
    sys.stdin.read()
"""


def test_whoever_holds_it_is_named_and_no_death_leaves_a_lock(locks, image):
    command = [sys.executable, "-c", HOLD, image]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        said = refusal(locks, machine(WRITES.format(image)))
        assert f"is in use by another process (pid {other.pid}): stop it first" in said
        other.send_signal(signal.SIGKILL)
    locks.take(machine(WRITES.format(image)))


@pytest.fixture
def qemu_io(image):
    """Have QEMU's program open the image for as long as the test needs it; then its exit status."""
    if not os.path.exists("/usr/bin/qemu-io"):
        pytest.skip("qemu-io is not installed: Debian has it in qemu-utils")

    def start(*options):
        return subprocess.Popen(
            ["qemu-io", "-f", "raw", *options, image],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def ends(process):
    said, errors = process.communicate("read 0 512\nquit\n", PATIENCE)
    return said + errors


def opened(process):
    """Wait until it has the image open."""
    process.stdin.write("read 0 512\n")
    process.stdin.flush()
    while "read 512/512" not in process.stdout.readline():
        assert process.poll() is None


@pytest.mark.parametrize(
    ("ours", "options", "together"),
    [(WRITES, (), False), (WRITES, ("-r",), False), (READS, (), False), (READS, ("-r",), True)],
)
def test_qemu_and_we_keep_out_of_each_others_way(locks, image, qemu_io, ours, options, together):
    wanted = machine(ours.format(image))
    with qemu_io(*options) as first:
        opened(first)
        if together:
            locks.take(wanted)
        else:
            said = refusal(locks, wanted)
            assert f"is in use by another process (pid {first.pid}): stop it first" in said
            assert ("or open it readonly" in said) == bool(options)
        ends(first)
    locks.take(wanted)
    with qemu_io(*options) as second:
        assert bool(re.search("Failed to (get|lock)", said := ends(second))) != together, said
