"""What is demanded of drivers of all kinds."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from drivers import registry
from drivers.filter import begin
from drivers.interface import Claim, DriverError
from drivers.options import Size
from drivers.spec import parse, several
from splitvisor.conformance.contract import InapplicableError, check, demand
from splitvisor.conformance.files import look, opened_files
from splitvisor.conformance.subject import Subject, is_child, option_types
from splitvisor.conformance.usage import ask, start, use
from splitvisor.conformance.victims import apart, described, killed

ROUNDS = 50  # of opening and closing
WARMING = 5  # rounds until what is made once is there
SETTLING = 2.0  # seconds that threads may take to end
REQUESTS = 300
GROWTH = 8 << 20  # bytes of memory that may be caches
NONSENSE = {
    str: ("", "x" * 300, "\x00", "ü"),
    int: ("-1", "0", "1.5", "99999999999999999999", "x"),
    float: ("-1", "nan", "1e999", "x"),
    Size: ("0", "1", "-1", "999999T", "x"),
}


@check()
def opening_changes_nothing(subject: Subject) -> None:
    """Opening and closing without `begin` leaves its files as they are, to the byte and the time of
    their last change.
    """
    with subject.serving() as driver:
        use(subject.kind, driver)
    paths = [claim.path for claim in subject.claims()]
    before = {path: look(path) for path in paths}
    subject.open().close()
    for path in paths:
        was, now = before[path], look(path)
        demand(was == now, f"{path} {_change(was, now)} by opening and closing")


def _change(was: object, now: object) -> str:
    if was is None or now is None:
        return "is made" if was is None else "is removed"
    return "is changed"


@check()
def claims_are_paths(subject: Subject) -> None:
    """Claims are of the type Claim, with absolute paths where the spec has them, the same before
    and after opening.
    """
    claims = subject.claims()
    for claim in claims:
        demand(isinstance(claim, Claim), f"{claim!r} is no Claim")
        demand(isinstance(claim.path, Path), f"the path of {claim!r} is no Path")
        demand(type(claim.exclusive) is bool, f"exclusive of {claim!r} is no bool")
        demand(claim.path.is_absolute(), f"{claim.path} is not absolute, and no path of the spec")
    with subject.serving():
        demand(list(subject.claims()) == list(claims), "the claims change when it is opened")


@check()
def claims_what_it_opens(subject: Subject) -> None:
    """Files that it holds open are claimed, those for writing as `exclusive`, but for what it keeps
    in a place of its own.
    """
    before = opened_files()
    with subject.serving() as driver:
        use(subject.kind, driver)
        found = {fd: file for fd, file in opened_files().items() if fd not in before}
        claims = {_identity(claim.path): claim for claim in subject.claims()}
        for status, writes, called in found.values():
            if called.startswith(str(subject.keep.path)) or called.endswith(" (deleted)"):
                continue
            claim = claims.get((status.st_dev, status.st_ino))
            demand(claim, f"{called} is open and not claimed")
            exclusive = claim is not None and (claim.exclusive or not writes)
            demand(exclusive, f"{called} is open for writing and not claimed as exclusive")


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


@check()
def gives_everything_back(subject: Subject) -> None:
    """Opened and closed 50 times, with requests and as a standby, it leaves no descriptors, threads
    or processes behind.
    """

    def work() -> bytes:
        _rounds(subject, WARMING)
        before = _possessions()
        _rounds(subject, ROUNDS)
        deadline = time.monotonic() + SETTLING
        while (after := _possessions()) > before and time.monotonic() < deadline:
            time.sleep(0.02)
        left = [
            f"{b - a} {name}" for name, a, b in zip(_NAMES, before, after, strict=True) if b > a
        ]
        demand(not left, f"after {ROUNDS} rounds there are more: {', '.join(left)}")
        return b""

    apart(work)


_NAMES = ("open descriptors", "threads", "processes")


def _rounds(subject: Subject, count: int) -> None:
    for number in range(count):
        if number % 2:
            with subject.serving() as driver:
                use(subject.kind, driver)
        else:
            subject.open().close()


def _possessions() -> tuple[int, int, int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    return (
        len(os.listdir("/proc/self/fd")),
        max(threading.active_count(), len(os.listdir("/proc/self/task"))),
        len(children.read_text(encoding="ascii").split()),
    )


@check()
def needs_no_more_memory(subject: Subject) -> None:
    """After 300 rounds of requests it has the memory that it had after the first 300."""

    def work() -> bytes:
        with subject.serving() as driver:
            start(subject.kind, driver)
            _requests(subject, driver)
            before = _resident()
            _requests(subject, driver)
            grown = _resident() - before
            demand(grown < GROWTH, f"{grown >> 20} MiB more after {REQUESTS} rounds of requests")
        return b""

    apart(work)


def _requests(subject: Subject, driver: object) -> None:
    until = time.monotonic() + 20.0  # a throttled one has fewer
    for _ in range(REQUESTS):
        ask(subject.kind, driver)
        if time.monotonic() > until:
            break


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


@check()
def comes_back_after_sigkill(subject: Subject) -> None:
    """When its process is killed, as a standby, while serving, and twice in a row, the next one can
    open and serve.
    """

    def stand_by() -> None:
        keep.append(subject.open())

    def serve() -> None:
        driver = subject.open()
        keep.append(driver)
        begin(driver)
        use(subject.kind, driver)

    def come_back() -> None:
        with subject.serving() as driver:
            use(subject.kind, driver)

    keep: list[object] = []
    for work in (stand_by, serve, serve):
        killed(work)
        apart(come_back)


@check()
def refuses_in_one_line(subject: Subject) -> None:
    """Options that make no sense, and files that are missing, empty, of rubbish, or a directory,
    are refused by DriverError in one line, or are taken; nothing stays open.
    """

    def work() -> bytes:
        with subject.serving() as driver:
            use(subject.kind, driver)  # what is made once is there from here on
        tried = 0
        for what, spec, opens in _wrong(subject):
            tried += 1
            before = len(os.listdir("/proc/self/fd"))
            problem = _refusal(subject.other(spec), opens)
            demand(not problem, f"{what}: {problem}")
            left = len(os.listdir("/proc/self/fd")) - before
            demand(left <= 0, f"{what}: refused, and {left} descriptors stay open")
        return str(tried).encode()

    if not int(apart(work)):
        raise InapplicableError("it has no options")


def _refusal(subject: Subject, opens: bool) -> str:
    """What is wrong with how it is refused."""
    try:
        registry.check(subject.kind, subject.spec)
        if opens:
            with subject.serving():
                pass
    except DriverError as error:
        text = str(error)
        return "" if text and "\n" not in text else f"not one line: {text!r}"
    except Exception as error:
        return described(error)
    return ""


def _wrong(subject: Subject) -> Iterator[tuple[str, str, bool]]:
    """What is wrong, the spec with it, and whether it is worth opening."""
    yield "an option that it has not", _with(subject.spec, "no-such-option", "1"), False
    for path in _bad_paths(subject.folder):
        for name, spec in _replaced(subject, subject.spec, Path, str(path)):
            yield f"{name}={path}", spec, True
    for wanted, texts in NONSENSE.items():
        for text in texts:
            for name, spec in _replaced(subject, subject.spec, wanted, text):
                yield f"{name}={text!r}", spec, False


def _bad_paths(folder: Path) -> list[Path]:
    there = folder / "wrong"
    there.mkdir(exist_ok=True)
    (there / "empty").write_bytes(b"")
    (there / "rubbish").write_bytes(b"\xa5rubbish" * 1000)
    (there / "folder").mkdir(exist_ok=True)
    (there / "loop").unlink(missing_ok=True)
    (there / "loop").symlink_to("loop")
    return [
        *(there / name for name in ("missing", "empty", "rubbish", "folder", "loop")),
        there / "empty" / "below",
        there / ("x" * 300),
    ]


def _replaced(subject: Subject, text: str, wanted: object, value: str) -> Iterator[tuple[str, str]]:
    """Names of options of a type, also of drivers below, and specs with the value there."""
    spec = parse(text)
    types = option_types(registry.find(subject.kind, spec.driver))
    for name, kind in types.items():
        if kind is wanted:
            yield name, _with(text, name, value)
        elif is_child(kind) and spec.options.get(name):
            below = several(str(spec.options[name]), name)
            for number, one in enumerate(below):
                for inner, changed in _replaced(subject, one, wanted, value):
                    several_ = [*below[:number], changed, *below[number + 1 :]]
                    joined = ",".join(f"({each})" for each in several_)
                    nested = joined if len(below) > 1 else changed
                    yield f"{name}: {inner}", _with(text, name, nested)


def _with(text: str, name: str, value: str) -> str:
    spec = parse(text)
    spec.options[name] = value
    return str(spec)
