"""What is demanded of a console. What it shows to people is not looked at, but its files are; and
input comes from standard input, a pseudo-terminal or a socket, if it reads one of them.
"""

import os
import select
import threading
import time
from typing import Any

from drivers.filter import begin
from splitvisor.conformance.contract import InapplicableError, check, demand
from splitvisor.conformance.files import look
from splitvisor.conformance.peers import feeding
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.victims import Victim, die

LINES = [b"line %d of the output\n" % number for number in range(40)]
WAIT = 5.0  # seconds for input to arrive
QUIET = 0.2  # seconds in which nothing may


@check("console")
def says_what_it_is(subject: Subject) -> None:
    """`positional` is a bool, `origin` a position, and all methods are there."""
    with subject.serving() as console:
        demand(
            type(console.positional) is bool, f"positional is {console.positional!r}, not a bool"
        )
        origin = console.origin
        demand(type(origin) is int and origin >= 0, f"origin {origin!r} is no position")
        for method in ("write", "start", "close"):
            demand(callable(getattr(console, method, None)), f"there is no method {method}")


@check("console")
def puts_out_at_positions(subject: Subject) -> None:
    """A positional console that writes the same bytes again at the same positions, in this
    incarnation or another, or parts of them, has written them once.
    """
    with subject.serving() as console:
        _positional(console)
        origin = console.origin
        _all(console, origin)
        once = _files(subject)
        if not any(once):
            raise InapplicableError("it puts out into no file that could be read")
        _all(console, origin)
        demand(_files(subject) == once, "output is there twice when it is written twice")
    with subject.serving() as console:
        _all(console, origin)
        demand(_files(subject) == once, "output is there twice when another incarnation repeats it")
        console.write(b"".join(LINES)[7:99], origin + 7)
        demand(_files(subject) == once, "output changes when parts of it are written again")


@check("console")
def output_survives_sigkill(subject: Subject) -> None:
    """What a positional console has put out is there when its process is killed, and the whole
    output once when the next incarnation repeats what may have been under way.
    """
    with subject.serving() as console:
        _positional(console)
        _all(console, console.origin)
    before = _files(subject)
    if not any(before):
        raise InapplicableError("it puts out into no file that could be read")
    start = len(LINES) // 2
    said = Victim(lambda victim: _half(subject, victim, start))
    origin = int(said.rest() or b"-1")
    said.wait()
    demand(origin >= 0, "the first incarnation put nothing out")
    once = _count(before) + 1
    demand(_count(_files(subject), start) == once, "output is lost by SIGKILL")
    with subject.serving() as console:
        position = origin + sum(map(len, LINES[: start - 3]))
        for line in LINES[start - 3 :]:
            console.write(line, position)
            position += len(line)
    after = _files(subject)
    demand(_count(after) == once, "the output is not whole after SIGKILL")
    demand(_count(after, start, start - 1) == once, "a line is there twice after SIGKILL")


def _count(files: list[bytes], stop: int | None = None, start: int = 0) -> int:
    """How often some of the lines stand there, one behind the other."""
    return max(file.count(b"".join(LINES[start:stop])) for file in files)


def _half(subject: Subject, victim: Victim, lines: int) -> None:
    console = subject.open()
    begin(console)
    victim.say(str(console.origin).encode())
    position = console.origin
    for line in LINES[:lines]:
        console.write(line, position)
        position += len(line)
    die()


def _positional(console: Any) -> None:
    if not console.positional:
        raise InapplicableError("it is not positional")


def _all(console: Any, position: int) -> None:
    for line in LINES:
        console.write(line, position)
        position += len(line)


def _files(subject: Subject) -> list[bytes]:
    found = [look(claim.path) for claim in subject.claims() if claim.exclusive]
    return [file[2] for file in found if file is not None]


@check("console")
def delivers_nothing_after_close(subject: Subject) -> None:
    """When `close` has returned, no more is delivered, and none is on its way."""
    console = subject.open()
    late: list[bytes] = []
    closed = threading.Event()

    def deliver(data: bytes) -> None:
        if closed.is_set():
            late.append(data)

    begin(console)
    with feeding(console, lambda: console.start(deliver, 1)) as feed:
        feed(b"x")
        console.close()
        closed.set()
        feed(b"y")
        time.sleep(QUIET)
    demand(not late, f"{b''.join(late)!r} was delivered after close")


@check("console")
def loses_no_input(subject: Subject) -> None:
    """Input that comes while one incarnation ends and the next one begins is delivered once, in
    order, by one of them.
    """
    data = b"".join(b"%06d\n" % number for number in range(3000))
    read, write = os.pipe()
    os.dup2(read, 0)
    os.set_blocking(write, False)
    got = bytearray()
    sent = 0
    for _ in range(20):
        with subject.serving() as console:
            console.start(got.extend, 1)
            end = min(sent + len(data) // 20 + 1, len(data))
            sent += os.write(write, data[sent:end])
            time.sleep(0.002)
    os.close(write)
    last = subject.open()
    begin(last)
    over = threading.Event()
    last.start(lambda piece: got.extend(piece) if piece else over.set(), 1)
    if not got and select.select([0], [], [], QUIET)[0]:
        raise InapplicableError("it does not read standard input")
    demand(over.wait(WAIT), "the end of the input is not delivered, as no bytes")
    last.close()
    demand(bytes(got) == data[:sent], f"{sent} bytes of input came as {len(got)}, or in disorder")
