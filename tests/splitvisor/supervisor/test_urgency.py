"""What the host makes of it."""

import os
import signal
import subprocess
import sys

import pytest

from splitvisor.supervisor.urgency import patient, prompt

CODE = """
import threading, signal
thread = threading.Thread(target=signal.pause, daemon=True)
thread.start()
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def process():
    with subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.send_signal(signal.SIGKILL)


def policies(pid):
    return {os.sched_getscheduler(int(thread)) for thread in os.listdir(f"/proc/{pid}/task")}


def test_all_threads_wait_and_are_prompt_again_without_privileges(process):
    assert len(os.listdir(f"/proc/{process}/task")) == 2
    patient(process)
    assert policies(process) == {os.SCHED_BATCH}
    prompt(process)
    assert policies(process) == {os.SCHED_OTHER}


def test_whoever_is_gone_does_not_matter():
    prompt(2**22 + 1)
