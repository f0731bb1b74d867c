"""What is demanded of a shared folder whose process dies."""

import ast
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from drivers.filter import begin
from drivers.folders import Change
from splitvisor.conformance.contract import InapplicableError, check, demand
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.tree import (
    Tree,
    clear,
    make_file,
    make_place,
    place_of,
    put,
    tree,
)
from splitvisor.conformance.victims import Trap, apart, killed

POINTS = 6  # at which one call is cut off, if it has so many
RECORDS = (b"one", b"two " * 1000, b"three")
LARGE, MANY = bytes(range(256)) * 512, 24  # of notes that are too many


@check("folder")
def survives_sigkill(subject: Subject) -> None:
    """What a call has changed when it returns is there when the process is killed in that moment,
    without any sync.
    """
    place = _made(subject)
    try:

        def work() -> None:
            folder = _serving(subject)
            folder.make_directory(place + b"/d", 0o700)
            make_file(folder, place + b"/d/file", b"x" * 100_000)
            file = folder.open(place + b"/d/file", os.O_RDWR)
            put(file, 50_000, b"written")
            folder.make_symlink(place + b"/link", b"somewhere")
            make_file(folder, place + b"/gone", b"")
            folder.remove(place + b"/gone", False)
            folder.rename(place + b"/d/file", place + b"/file")

        killed(work)
        whole = b"x" * 50_000 + b"written" + b"x" * 49_993
        wanted: Tree = {
            b"d": ("directory", 0o700, b""),
            b"file": ("file", 0o644, whole),
            b"link": ("link", 0, b"somewhere"),
        }

        def look(folder: Any) -> None:
            found = tree(folder, place)
            for name in sorted({*found, *wanted}):
                same = found.get(name) == wanted.get(name)
                demand(same, f"after SIGKILL {name.decode()} is not as it was left")

        _apart(subject, look)
    finally:
        _apart(subject, lambda folder: clear(folder, place))


@check("folder")
def calls_may_be_cut_off_anywhere(subject: Subject) -> None:
    """A process that is killed between any two steps of a call that makes, moves, changes or takes
    away a name leaves all as before or as after, but for the mode of what is new; and the call made
    once more, where "there already" and "gone already" count as done, makes it as after.
    """
    place = _made(subject)
    try:
        for name, request in _calls(place).items():
            _cut_off_everywhere(subject, place, name, request)
    finally:
        _apart(subject, lambda folder: clear(folder, place))


def _calls(place: bytes) -> dict[str, Callable[[Any], None]]:
    file, empty, new = place + b"/file", place + b"/empty", place + b"/new"

    def create(folder: Any) -> None:
        try:
            folder.create(new, os.O_RDWR, 0o666).close()
        except FileExistsError:
            folder.change(new, Change(mode=0o666))

    def make_directory(folder: Any) -> None:
        try:
            folder.make_directory(new, 0o777)
        except FileExistsError:
            folder.change(new, Change(mode=0o777))

    return {
        "rename": _done_once(lambda f: f.rename(file, place + b"/other")),
        "change": lambda f: f.change(file, Change(size=4)),
        "create": create,
        "make_directory": make_directory,
        "make_symlink": _done_once(lambda f: f.make_symlink(new, b"x")),
        "make_link": _done_once(lambda f: f.make_link(new, file)),
        "remove": _done_once(lambda f: f.remove(file, False)),
        "remove of a directory": _done_once(lambda f: f.remove(empty, True)),
    }


def _done_once(act: Callable[[Any], None]) -> Callable[[Any], None]:
    def request(folder: Any) -> None:
        with suppress(FileExistsError, FileNotFoundError):
            act(folder)

    return request


def _prepared(folder: Any, place: bytes) -> None:
    clear(folder, place)
    make_place(folder, place)
    make_file(folder, place + b"/file", b"file's bytes")
    make_file(folder, place + b"/other", b"other's")
    folder.make_directory(place + b"/empty", 0o755)


def _cut_off_everywhere(
    subject: Subject, place: bytes, name: str, request: Callable[[Any], None]
) -> None:
    trees: list[Tree] = []

    def count(folder: Any) -> bytes:
        _prepared(folder, place)
        before = tree(folder, place)
        trap = Trap(0)
        with trap.armed():
            request(folder)
        return repr((trap.count, before, tree(folder, place))).encode()

    steps, before, after = _literal(_apart(subject, count))
    trees += [before, after]
    demand(before != after, f"{name} has changed nothing")
    for point in sorted({1 + steps * n // POINTS for n in range(POINTS)}):

        def work(point: int = point) -> None:
            trap = Trap(point)
            folder = _serving(subject)
            _prepared(folder, place)
            with trap.armed():
                request(folder)

        killed(work)
        when = f"after {name}, cut off at step {point} of {steps},"

        def look(folder: Any, when: str = when) -> None:
            found = _without_new_modes(tree(folder, place), before)
            allowed = [_without_new_modes(each, before) for each in trees]
            demand(found in allowed, f"{when} the folder is neither as before nor as after it")
            request(folder)
            again = tree(folder, place) == after
            demand(again, f"{when} and made once more, the folder is not as after it")

        _apart(subject, look)


def _without_new_modes(found: Tree, before: Tree) -> Tree:
    return {
        name: (kind, mode if name in before else 0, data)
        for name, (kind, mode, data) in found.items()
    }


@check("folder")
def notes_survive_sigkill(subject: Subject) -> None:
    """What was noted is found by the next incarnation, whole and in order, when the process is
    killed in that moment; a note that was cut off anywhere is there whole or not at all.
    """
    before = _notes(subject)

    def work() -> None:
        folder = _serving(subject)
        for number, record in enumerate(RECORDS):
            said = [*before, *RECORDS[: number + 1]]
            folder.note(record, lambda said=said: said)

    killed(work)
    known = [*before, *RECORDS]
    demand(_notes(subject) == known, "after SIGKILL there are other notes than were made")

    def note(folder: Any, known: list[bytes], trap: Trap) -> None:
        with trap.armed():
            folder.note(b"last", lambda: [*known, b"last"])

    def count(folder: Any) -> bytes:
        trap = Trap(0)
        note(folder, known, trap)
        return str(trap.count).encode()

    steps = int(_apart(subject, count))
    known = _notes(subject)
    for point in sorted({1 + steps * n // POINTS for n in range(POINTS)}):

        def cut(point: int = point, known: list[bytes] = known) -> None:
            trap = Trap(point)
            note(_serving(subject), known, trap)

        killed(cut)
        found = _notes(subject)
        whole = found in (known, [*known, b"last"])
        demand(whole, f"a note that was cut off at step {point} of {steps} is there in part")
        known = found


@check("folder")
def notes_may_be_said_anew(subject: Subject) -> None:
    """When there are too many notes, those that say the same are there in their place, and what was
    noted last is the last.
    """

    def work() -> None:
        folder = _serving(subject)
        for number in range(MANY):
            record = b"%d " % number + LARGE
            folder.note(record, lambda record=record: [b"anew", record])

    killed(work)
    found = _notes(subject)
    demand(found and found[-1] == b"%d " % (MANY - 1) + LARGE, "what was noted last is not there")
    if b"anew" in found:
        numbers = [int(note.split(b" ", 1)[0]) for note in found if note.endswith(LARGE)]
        demand(numbers == list(range(MANY - len(numbers), MANY)), "notes are lost in the middle")
        demand(found[0] == b"anew", "what was to be said anew is there beside what it replaces")


def _literal(text: bytes) -> Any:
    return ast.literal_eval(text.decode())


def _notes(subject: Subject) -> list[bytes]:
    found: list[bytes] = _literal(
        _apart(subject, lambda folder: repr(list(folder.notes())).encode())
    )
    return found


def _made(subject: Subject) -> bytes:
    place = place_of()
    reason = _apart(subject, lambda folder: _reason(folder, place))
    if reason:
        raise InapplicableError(reason.decode())
    return place


def _reason(folder: Any, place: bytes) -> bytes:
    """Why there is no place, if it is no fault of the folder's."""
    try:
        make_place(folder, place)
    except InapplicableError as error:
        return str(error).encode()
    return b""


def _apart(subject: Subject, work: Callable[[Any], bytes | None]) -> bytes:
    """Have an incarnation of its own do it, in a process of its own."""

    def serve() -> bytes | None:
        with subject.serving() as folder:
            return work(folder)

    return apart(serve)


def _serving(subject: Subject) -> Any:
    """In a process that will die: nobody closes it."""
    folder = subject.open()
    begin(folder)
    return folder
