"""A console log of storm, byte by byte: everything that was sent, once, in order, and no more.

Numbered lines follow from the seed, and are compared letter for letter. Other lines count
something up, which shows when one is missing or there twice. And in its result line the guest says
how many bytes it has sent before, and their CRC-32, which leaves nothing to chance.
"""

import re
import zlib
from collections.abc import Iterator

from splitvisor.checks.verdict import Verdict
from splitvisor.checks.workload import Workload

_OTHERS = re.compile(
    rb"storm: (?:result|PASS|FAIL|in flight:|gap \d+ at \d+|failed (?:read|write|flush) \d+)"
)
_START = re.compile(rb"storm: start seed=(\d+) blocks=(\d+) .*\n")
_END = re.compile(rb"storm: PASS \d+ requests\n")
_FLUSHED = re.compile(rb"storm: flushed (\d+) (\d+)\n")
_SECOND = re.compile(rb"storm: at (\d+) (\d+)\n")
_SUMS = re.compile(rb"storm: result .* console=(\d+) crc=0x([0-9a-f]{8})\n")


def check_console(log: bytes, workload: Workload, stopped: bool = False) -> Verdict:
    """Check all that a storm has sent; problems name the byte where they begin.

    If the guest was `stopped`, the log may end anywhere; else with the guest's own sums and PASS.
    """
    judge = _Judge(workload)
    verdict = Verdict()
    for at, line in _lines(log):
        verdict.checked += 1
        whole = line.endswith(b"\n")
        if problem := judge.look(line) if whole else judge.cut_off(line) if stopped else "no end":
            verdict.add(f"byte {at}: {problem}")
    found = _SUMS.search(log)
    if found is None:
        return verdict if stopped else _with(verdict, f"byte {len(log)}: no result line")
    sent = log[: found.start()]
    if (len(sent), zlib.crc32(sent)) != (int(found[1]), int(found[2], 16)):
        verdict.add(
            f"byte {len(sent)}: {len(sent)} bytes of CRC {zlib.crc32(sent):#010x} until the "
            f"result, sent {int(found[1])} of {int(found[2], 16):#010x}"
        )
    if not stopped and not _END.fullmatch(log, found.end()):
        verdict.add(f"byte {found.end()}: {log[found.end() :][:40]!r}, expected PASS alone")
    return verdict


def check_uart(log: bytes, workload: Workload, lines: int | None = None) -> Verdict:
    """Check what came over com1: the first `lines` lines, or any number (None) of them."""
    count = log.count(b"\n") if lines is None else lines
    expected = b"".join(b"storm: uart %b\n" % workload.uart_line(i).encode() for i in range(count))
    rest = log[len(expected) :] if lines is None else b""
    if lines is None:
        expected += (b"storm: uart %b\n" % workload.uart_line(count).encode())[: len(rest)]
    verdict = Verdict(count)
    return verdict if log == expected else _with(verdict, _difference(log, expected))


class _Judge:
    """What must come next."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._begun = False
        self._line = self._flush = self._second = self._flushed = self._requests = 0

    def look(self, line: bytes) -> str:
        """What is wrong with a whole line, or nothing."""
        if not self._begun:
            self._begun = True
            found = _START.fullmatch(line)
            right = (b"%d" % self._workload.seed, b"%d" % self._workload.blocks)
            begins = found is not None and found.groups() == right
            return "" if begins else f"{line!r} is not how this storm begins"
        if line.startswith(b"storm: line "):
            expected = self._numbered()
            self._line += 1
            return "" if line == expected else _difference(line, expected)
        if found := _FLUSHED.fullmatch(line):
            number, below = map(int, found.groups())
            problem = "" if number == self._flush else f"flush {number}, expected {self._flush}"
            problem = problem or (
                "" if below >= self._flushed else f"flushed {below}, less than before"
            )
            self._flush, self._flushed = number + 1, below
            return problem
        if found := _SECOND.fullmatch(line):
            number, requests = map(int, found.groups())
            next_one = self._second + 1
            problem = "" if number == next_one else f"second {number}, expected {next_one}"
            problem = problem or (
                "" if requests >= self._requests else "fewer requests than before"
            )
            self._second, self._requests = number, requests
            return problem
        return "" if _OTHERS.match(line) else f"{line!r}, which is no line of storm"

    def cut_off(self, line: bytes) -> str:
        """What is wrong with the beginning of a line, or nothing."""
        if line.startswith(b"storm: line "):
            expected = self._numbered()
            return "" if expected.startswith(line) else _difference(line, expected)
        begins = line[:7] == b"storm: "[: len(line)]
        return "" if begins else f"{line!r}, which is no line of storm"

    def _numbered(self) -> bytes:
        text = self._workload.line(self._line).encode()
        return b"storm: line %d %08x %b\n" % (self._line, zlib.crc32(text), text)


def _lines(log: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    for line in log.splitlines(keepends=True):
        yield at, line
        at += len(line)


def _difference(found: bytes, expected: bytes) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
        min(len(found), len(expected)),
    )
    return f"{found[at : at + 40]!r} after {at} bytes, expected {expected[at : at + 40]!r}"


def _with(verdict: Verdict, problem: str) -> Verdict:
    verdict.add(problem)
    return verdict
