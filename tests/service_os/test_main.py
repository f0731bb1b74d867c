"""Starting and ending the process, apart from what it serves."""

import os
import resource
import select
import signal
import subprocess
import sys

import pytest

PATIENCE = 60
SERVICE_OS = [sys.executable, "-m", "service_os", "--name=main"]


def run(listen, grants, token="secret", epoch="1"):
    return subprocess.run(
        [*SERVICE_OS, f"--epoch={epoch}", f"--listen={listen}", f"--grants={grants}"],
        env={**os.environ, "SPLITVISOR_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_mistakes_end_it_with_one_line(tmp_path):
    used = tmp_path / "used"
    used.touch()
    long = tmp_path / ("x" * 108)
    for fault, text in {
        (tmp_path / "io", tmp_path / "g", ""): "no token: set SPLITVISOR_TOKEN",
        (long, tmp_path / "g", "t"): "is longer than 107 bytes: use a shorter one",
        (tmp_path / "io", long, "t"): "is longer than 107 bytes: use a shorter one",
        (tmp_path / "io", used, "t"): f"cannot listen at {used}: Address already in use",
        (tmp_path / "no" / "io", tmp_path / "g", "t"): f"cannot listen at {tmp_path}/no/io",
    }.items():
        done = run(*fault)
        lines = [line for line in done.stderr.splitlines() if line.startswith("service OS main: ")]
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert len(lines) == 1
        assert text in lines[0]
    assert used.exists()


def test_arguments_that_are_wrong_are_explained(tmp_path):
    done = run(tmp_path / "io", tmp_path / "g", epoch="first")
    assert done.returncode == 2
    assert "argument --epoch: invalid int value: 'first'" in done.stderr


PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[2:], pass_fds=[int(sys.argv[1])])
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_it_dies_with_its_parent(tmp_path):
    ready, ready_write = os.pipe()
    options = ["--epoch=1", f"--listen={tmp_path}/io", f"--grants={tmp_path}/g"]
    words = [str(ready_write), *SERVICE_OS, *options, f"--ready-fd={ready_write}"]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *words],
        pass_fds=[ready_write],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "SPLITVISOR_TOKEN": "secret"},
    )
    os.close(ready_write)
    child = os.pidfd_open(int(parent.stdout.readline()))
    assert os.read(ready, 1) == b"1"
    os.close(ready)
    assert select.select([child], [], [], 0)[0] == []
    parent.communicate(timeout=PATIENCE)
    assert select.select([child], [], [], PATIENCE)[0] == [child]
    os.close(child)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_in_order(start, name):
    incarnation = start()
    incarnation.process.send_signal(getattr(signal, name))
    assert incarnation.process.wait(PATIENCE) == 0


def test_it_may_have_as_many_descriptors_as_the_host_lets_it(start):
    """512 open files of one shared folder beside another's do not fit into the usual 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        pid = start().process.pid
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (hard, hard)
