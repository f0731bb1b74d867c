"""The terminal is file descriptors 0 and 1, so each test has a process of its own for it."""

import os
import pty
import subprocess
import sys
import termios

import pytest

HEAD = """
import sys, threading
from drivers.console_terminal import TerminalConsole
def console(): return TerminalConsole(TerminalConsole.Options())
def say(text): print(text, file=sys.stderr, flush=True)
"""
SHOW_INPUT = """
ended = threading.Event()
def deliver(data):
    say(repr(data))
    if not data: ended.set()
console().start(deliver, 0)
assert ended.wait(60)
"""


def run(body, **how):
    return subprocess.Popen([sys.executable, "-c", HEAD + body], stderr=subprocess.PIPE, **how)


def test_output_is_complete_on_a_pipe_that_does_not_block():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = run("console().write(b'0123456789' * 100_000, 0)", stdout=writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"0123456789" * 100_000
    assert process.communicate()[1] == b""
    assert process.returncode == 0


def test_output_to_nobody_is_dropped():
    reading, writing = os.pipe()
    os.close(reading)
    process = run("c = console(); c.write(b'x', 0); c.write(b'y', 1)", stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


def test_output_that_finds_no_room_is_a_medium_error():
    body = """
from drivers.interface import MediumError
try:
    console().write(b"x", 0)
except MediumError as error:
    say(error)
"""
    with open("/dev/full", "wb") as full:
        process = run(body, stdout=full)
    assert process.communicate(timeout=60)[1] == b"No space left on device: free some room\n"


def test_input_from_a_pipe_ends_with_no_bytes():
    process = run(SHOW_INPUT, stdin=subprocess.PIPE)
    _, errors = process.communicate(b"hello", timeout=60)
    assert errors == b"b'hello'\nb''\n"


def test_input_that_is_closed_has_ended():
    process = run("import os; os.close(0)\n" + SHOW_INPUT)
    assert process.communicate(timeout=60)[1] == b"b''\n"


def test_a_terminal_works_both_ways_and_keeps_its_modes():
    leader, terminal = pty.openpty()
    modes = termios.tcgetattr(terminal)
    process = run(
        """
def deliver(data):
    c.write(b"<" + data + b">", 0)
c = console()
c.start(deliver, 0)
threading.Event().wait()
""",
        stdin=terminal,
        stdout=terminal,
    )
    os.write(leader, b"typed\n")
    seen = b""
    while not seen.endswith(b">"):
        seen += os.read(leader, 100)
    assert b"<typed\r\n>" in seen
    assert termios.tcgetattr(terminal) == modes
    process.kill()
    process.communicate()
    os.close(leader)
    os.close(terminal)


def test_a_console_that_is_closed_leaves_input_to_others():
    reading, writing = os.pipe()
    process = run(
        """
c = console()
c.start(lambda data: say(data), 0)
say("started")
c.close()
say("closed")
threading.Event().wait()
""",
        stdin=reading,
    )
    assert [process.stderr.readline() for _ in range(2)] == [b"started\n", b"closed\n"]
    os.write(writing, b"for the next")
    assert os.read(reading, 100) == b"for the next"
    process.kill()
    process.communicate()
    os.close(reading)
    os.close(writing)


def test_a_console_is_closed_when_all_that_was_read_is_delivered():
    process = run(
        """
arrived, go_on, delivered = threading.Event(), threading.Event(), []
def deliver(data):
    arrived.set()
    go_on.wait(60)
    delivered.append(data)
c, other = console(), console()
c.start(deliver, 0)
arrived.wait(60)
other.close()  # has nothing to wait for
closing = threading.Thread(target=lambda: (c.close(), say(repr(delivered))))
closing.start()
go_on.set()
closing.join()
""",
        stdin=subprocess.PIPE,
    )
    assert process.communicate(b"typed", timeout=60)[1] == b"[b'typed']\n"


@pytest.mark.parametrize("order", [("low, 0", "high, 1"), ("high, 1", "low, 0")])
def test_input_goes_to_the_highest_rank_until_that_leaves(order):
    process = run(
        f"""
arrived = threading.Semaphore(0)
def take(name):
    def deliver(data):
        say(f"{{name}} {{data!r}}")
        arrived.release()
    return deliver
low, high = take("low"), take("high")
consoles = {{"low": console(), "high": console()}}
for deliver, rank in (({order[0]}), ({order[1]})):
    consoles["high" if rank else "low"].start(deliver, rank)
say("ready")
arrived.acquire()
consoles["high"].close()
say("closed")
arrived.acquire()
""",
        stdin=subprocess.PIPE,
    )
    assert process.stderr.readline() == b"ready\n"
    process.stdin.write(b"one")
    process.stdin.flush()
    assert process.stderr.readline() == b"high b'one'\n"
    assert process.stderr.readline() == b"closed\n"
    process.stdin.write(b"two")
    process.stdin.flush()
    assert process.stderr.readline() == b"low b'two'\n"
    process.communicate(timeout=60)


def test_the_end_of_input_is_told_to_all_however_late_they_ask():
    process = run(
        """
def ask(name, rank):
    told = threading.Event()
    console().start(lambda data: (say(f"{name} {data!r}"), told.set()), rank)
    assert told.wait(60)
ask("first", 0)
ask("second", 1)
ask("third", 0)
""",
        stdin=subprocess.DEVNULL,
    )
    assert process.communicate(timeout=60)[1] == b"first b''\nsecond b''\nthird b''\n"
