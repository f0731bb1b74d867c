"""What the guest storm says on its console, as values. `guests/storm.c` lists the lines."""

import re
from dataclasses import dataclass, field

from splitvisor.checks.workload import Workload

_START = re.compile(
    r"^storm: start seed=(\d+) blocks=(\d+) span=(\d+) writes=(\d+) flush=(\d+) "
    r"depth=(\d+) hz=(\d+)$",
    re.MULTILINE,
)
_FLUSHED = re.compile(r"^storm: flushed \d+ (\d+)$", re.MULTILINE)
_FAILED = re.compile(r"^storm: failed (?:read|write|flush) (\d+)$", re.MULTILINE)
_GAP = re.compile(r"^storm: gap (\d+) at (\d+)$", re.MULTILINE)
_SECOND = re.compile(r"^storm: at (\d+) (\d+)$", re.MULTILINE)
_RESULT = re.compile(r"^storm: result (.*)$", re.MULTILINE)
_VERDICT = re.compile(r"^storm: ((?:PASS|FAIL) .*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which no disk request completed."""

    microseconds: int
    ended_ms: int  # after the guest's start


@dataclass(frozen=True, slots=True)
class StormLog:
    """All that was said. `result` holds the counters of the result line, all or none.

    None if the guest did not get there, or if what it said of them makes no sense.
    """

    workload: Workload
    depth: int
    hz: int
    verdict: str  # "PASS ...", "FAIL ...", or nothing if it never came to one
    result: dict[str, int] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    seconds: tuple[tuple[int, int], ...] = ()  # (second, requests completed since the start)
    flushed: tuple[int, ...] = ()  # per flush: all writes below had completed before it
    failed: frozenset[int] = frozenset()  # operations that ended with an I/O error

    @property
    def passed(self) -> bool:
        """Whether the guest found everything right."""
        return self.verdict.startswith("PASS")

    @property
    def durable(self) -> int:
        """All writes below this number were flushed."""
        return max(self.flushed, default=0)

    @property
    def rates(self) -> list[float]:
        """Requests per second, second by second.

        What goes back is left out; that it does is the console's checker's to say.
        """
        before = (0, 0)
        rates = []
        for second, requests in self.seconds:
            if second > before[0] and requests >= before[1]:
                rates.append((requests - before[1]) / (second - before[0]))
                before = (second, requests)
        return rates

    @property
    def throughput(self) -> float:
        """Requests per second over the whole load, without the final reading back; 0 if unknown."""
        time = self.result.get("time_us", 0)
        return self.result.get("in_time", 0) * 1e6 / time if time else 0.0


def parse(text: str) -> StormLog | None:
    """The log; None if the guest has not even started. Of several runs, the last."""
    starts = list(_START.finditer(text))
    if not starts:
        return None
    text = text[starts[-1].start() :]
    seed, blocks, span, writes, flush, depth, hz = map(int, starts[-1].groups())
    result = _RESULT.search(text)
    verdict = _VERDICT.search(text)
    return StormLog(
        workload=Workload(seed, blocks, span, writes, flush),
        depth=depth,
        hz=hz,
        verdict=verdict[1] if verdict else "",
        result=_counters(result[1]) if result else {},
        gaps=tuple(Gap(*map(int, found)) for found in _GAP.findall(text)),
        seconds=tuple((int(second), int(count)) for second, count in _SECOND.findall(text)),
        flushed=tuple(map(int, _FLUSHED.findall(text))),
        failed=frozenset(map(int, _FAILED.findall(text))),
    )


def _counters(words: str) -> dict[str, int]:
    """All of them; none if one makes no sense."""
    try:
        return {key: int(value, 0) for key, value in (word.split("=") for word in words.split())}
    except ValueError:
        return {}
