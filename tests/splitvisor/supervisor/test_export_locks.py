"""Announcements to other machines, seen as the kernel tells of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor import export_locks
from splitvisor.supervisor.export_locks import ExportLocks

PATIENCE = 30  # seconds; only a failing test waits so long


def machine(*specs):
    disks = [Device(f"disk{i}", Model.BLOCK, spec) for i, spec in enumerate(specs)]
    return Machine("lab", (Guest("web", Path("a.elf"), devices=tuple(disks)),))


@pytest.fixture
def writer(tmp_path):
    return machine(f"nbd:socket={tmp_path}/x.sock")


@pytest.fixture
def reader(tmp_path):
    return machine(f"nbd:socket={tmp_path}/x.sock,readonly")


@pytest.fixture
def locks():
    with ExportLocks() as locks:
        yield locks


@pytest.fixture
def others():
    """Another machine's; in one process they are strangers too."""
    with ExportLocks() as locks:
        yield locks


def refusal(locks, wanted):
    with pytest.raises(UserError) as raised:
        locks.take(wanted)
    return str(raised.value)


def test_what_one_machine_writes_is_no_other_ones(locks, others, writer, reader, tmp_path):
    others.take(writer)
    for wanted in (writer, reader):
        assert refusal(locks, wanted) == (
            f"device web/disk0: NBD server unix:{tmp_path}/x.sock is in use by another process"
            f" (pid {os.getpid()}): stop it first"
        )
    others.keep(machine())
    locks.take(writer)


def test_machines_may_read_one_export_and_then_none_may_write_it(locks, others, writer, reader):
    others.take(reader)
    locks.take(reader)
    assert refusal(locks, writer).endswith(": stop it first, or open it readonly")
    others.keep(machine())
    locks.take(writer)
    refusal(others, reader)


def test_a_writer_becomes_a_reader(locks, others, writer, reader):
    locks.take(writer)
    locks.take(reader)  # it has more than that
    refusal(others, reader)
    locks.keep(reader)
    others.take(reader)
    refusal(locks, writer)
    locks.keep(writer)  # what it cannot have it has not
    others.keep(machine())
    refusal(others, writer)


def test_other_exports_are_others(locks, others, tmp_path):
    locks.take(machine(f"nbd:socket={tmp_path}/x.sock,export=a"))
    others.take(machine(f"nbd:socket={tmp_path}/x.sock,export=b", "memory:size=1M"))


def test_where_nobody_tells_of_announcements_a_machine_goes_on(
    locks, others, writer, monkeypatch, tmp_path
):
    monkeypatch.setattr(export_locks, "ANNOUNCED", tmp_path / "none")
    locks.take(writer)
    others.take(writer)


HOLD = """
import sys
from pathlib import Path
from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor.locks import Locks
device = Device("disk0", Model.BLOCK, sys.argv[1])
with Locks() as locks:
    locks.take(Machine("other", (Guest("db", Path("a.elf"), devices=(device,)),)))
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_the_holder_is_named_and_sigkill_frees_it(locks, tmp_path):
    spec = f"nbd:socket={tmp_path}/x.sock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, spec], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"holds\n"
        assert f"(pid {holder.pid})" in refusal(locks, machine(spec))
        holder.send_signal(signal.SIGKILL)
        holder.wait(PATIENCE)
    locks.take(machine(spec))
