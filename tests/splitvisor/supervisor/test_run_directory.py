"""Claiming, finding and cleaning run directories, with real locks."""

import os
import stat
import subprocess
import sys

import pytest

from splitvisor.errors import UserError
from splitvisor.supervisor import run_directory
from splitvisor.supervisor.run_directory import LOCK, claim, default_root, running

SERVICES = ("service",)


@pytest.fixture
def dead_machine(tmp_path):
    """What a machine leaves whose supervisor was killed; its pid."""
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from splitvisor.supervisor.run_directory import claim\n"
        "folder = claim(Path(sys.argv[1]), 'dead', ('service',))\n"
        "(folder.path / 'core.sock').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    process.wait()
    assert (tmp_path / "dead" / "core.sock").exists()
    return process.pid


def test_a_machine_has_a_folder_that_only_its_user_may_enter(tmp_path):
    directory = claim(tmp_path / "new" / "root", "lab", SERVICES)
    for path in (directory.root, directory.path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    directory.remove()


def test_a_running_machine_is_found_until_it_is_removed(tmp_path):
    directory = claim(tmp_path, "lab", SERVICES)
    (found,) = running(tmp_path)
    assert (found.name, found.pid, found.path) == ("lab", os.getpid(), directory.path)
    assert found.operator_socket == directory.operator_socket
    directory.remove()
    directory.remove()
    assert running(tmp_path) == []
    assert not directory.path.exists()


def test_a_second_machine_of_the_same_name_is_refused_with_name_and_pid(tmp_path):
    directory = claim(tmp_path, "lab", SERVICES)
    with pytest.raises(UserError, match=rf"machine lab runs already \(pid {os.getpid()}\)"):
        claim(tmp_path, "lab", SERVICES)
    directory.remove()
    claim(tmp_path, "lab", SERVICES).remove()


def test_a_name_that_may_change_gets_a_number(tmp_path):
    taken = [claim(tmp_path, "hello", SERVICES, rename=True) for _ in range(3)]
    assert [directory.name for directory in taken] == ["hello", "hello-2", "hello-3"]
    assert [machine.name for machine in running(tmp_path)] == ["hello", "hello-2", "hello-3"]
    for directory in taken:
        directory.remove()


def test_what_a_dead_machine_left_is_no_machine_and_goes_when_somebody_looks(
    tmp_path, dead_machine
):
    assert running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_machine_left_goes_with_the_next_start(tmp_path, dead_machine):
    directory = claim(tmp_path, "lab", SERVICES)
    assert not (tmp_path / "dead").exists()
    directory.remove()


def test_the_name_of_a_dead_machine_is_free(tmp_path, dead_machine):
    directory = claim(tmp_path, "dead", SERVICES)
    assert [entry.name for entry in directory.path.iterdir()] == [LOCK]
    directory.remove()


@pytest.mark.parametrize("contents", [None, "", "splitvisor nonsense\n", "4711\n"])
def test_folders_of_others_are_left_alone(tmp_path, contents):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").touch()
    if contents is not None:
        (precious / LOCK).write_text(contents)
    assert running(tmp_path) == []
    claim(tmp_path, "lab", SERVICES).remove()
    with pytest.raises(UserError, match="in the way"):
        claim(tmp_path, "precious", SERVICES)
    assert (precious / "data").exists()


def test_the_sockets_of_incarnations_are_apart(tmp_path):
    directory = claim(tmp_path, "lab", ("a", "b"))
    paths = [
        path
        for service in ("a", "b")
        for epoch in (1, 2, 3)
        for path in directory.service_sockets(service, epoch)
    ]
    assert len(set(paths)) == len(paths) == 12
    directory.remove()


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(tmp_path):
    root = tmp_path / ("x" * 100)
    with pytest.raises(UserError, match=r"longer than the 107 .* --run-root"):
        claim(root, "lab", SERVICES)
    assert not root.exists()


def test_the_longest_path_that_is_allowed_can_be_bound(tmp_path):
    import socket

    fixed = len(os.fsencode(tmp_path / "lab" / "service.999999.grants")) + 1
    root = tmp_path / ("x" * (107 - fixed))
    directory = claim(root, "lab", SERVICES)
    grants = directory.service_sockets("service", 999_999)[1]
    assert len(os.fsencode(grants)) == 107
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(grants))
    directory.remove()
    with pytest.raises(UserError, match="1 bytes longer"):
        claim(tmp_path / ("x" * (108 - fixed)), "lab", SERVICES)


def test_a_root_that_cannot_be_made_is_a_users_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be made.*--run-root"):
        claim(tmp_path / "file" / "root", "lab", SERVICES)


def test_a_root_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UserError, match="belongs to another user"):
        claim(tmp_path, "lab", SERVICES)


def test_no_root_no_machines(tmp_path):
    assert running(tmp_path / "none") == []


def test_the_default_root_follows_the_environment(monkeypatch):
    monkeypatch.setenv("SPLITVISOR_RUN_ROOT", "/chosen")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert str(default_root()) == "/chosen"
    monkeypatch.delenv("SPLITVISOR_RUN_ROOT")
    assert str(default_root()) == "/run/user/7/splitvisor"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_root().name == f"splitvisor-{os.geteuid()}"
