"""What the guests and their disks say after a round, against what they were promised."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from splitvisor.chaos.plan import Disk
from splitvisor.checks import powercut
from splitvisor.checks.console import check_console, check_uart
from splitvisor.checks.image import check_image
from splitvisor.checks.storm import StormLog, parse
from splitvisor.checks.verdict import Verdict

LATEST = 100_000  # operations that may come between the last flush that was heard of and a cut


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of one guest: its logs and its disk; `ended` if it came to its own end."""

    name: str
    console: Path
    uart: Path
    image: Path
    disk: Disk
    ended: bool
    cut: int | None = None  # the power failed: a seed for what became of what was not flushed


def judge(remains: Remains) -> tuple[StormLog | None, list[str]]:
    """What the guest said, and all that is wrong, a line each."""
    said = remains.console.read_bytes() if remains.console.exists() else b""
    log = parse(said.decode(errors="replace"))
    if log is None:
        return None, [f"{remains.name}: it never began"] if remains.ended else []
    return log, [f"{remains.name}: {line}" for line in _problems(remains, said, log)]


def _problems(remains: Remains, said: bytes, log: StormLog) -> Iterator[str]:
    if log.verdict.startswith("FAIL") or (remains.ended and not log.passed):
        yield f"the guest says: {log.verdict or 'nothing'}"
    elif remains.ended and "submitted" not in log.result:
        yield "the guest's result line is not whole"
    if errors := log.result.get("errors", len(log.failed)):
        yield f"{errors} I/O errors"
    stopped = not remains.ended
    yield from _told("the console", check_console(said, log.workload, stopped))
    uart = remains.uart.read_bytes() if remains.uart.exists() else b""
    lines = log.result.get("uart_lines") if remains.ended else None
    yield from _told("com1", check_uart(uart, log.workload, lines))
    if remains.cut is not None:
        yield from _told("the disk after the loss of power", _after_cut(remains, log))
    elif remains.disk is not Disk.MEMORY:
        yield from _told("the disk", _image(remains, log))


def _image(remains: Remains, log: StormLog) -> Verdict:
    number = log.result.get("submitted")
    if remains.ended and number is not None:
        return check_image(remains.image, log.workload, number, number, log.failed)
    return check_image(remains.image, log.workload, log.durable, None, log.failed)


def _after_cut(remains: Remains, log: StormLog) -> Verdict:
    image = remains.image.with_suffix(".cut")
    try:
        powercut.cut(remains.image, _log_of(remains.image), remains.cut or 0, image)
    except powercut.LogError as broken:
        return Verdict(checked=1, wrong=1, problems=[str(broken)])
    return powercut.judge(image, log.workload, log.durable, log.durable + LATEST, log.failed)


def _log_of(image: Path) -> Path:
    return image.with_name(f"{image.name}.log")


def _told(what: str, verdict: Verdict) -> Iterator[str]:
    if not verdict.agrees:
        yield f"{what}: {verdict.wrong} wrong of {verdict.checked}: {verdict.problems[0]}"
