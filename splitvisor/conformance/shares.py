"""What is demanded of a shared folder while nobody dies."""

import errno
import os
import stat
from contextlib import suppress
from typing import Any

from drivers.filter import begin
from drivers.folders import Change
from splitvisor.conformance.contract import InapplicableError, check, demand
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.tree import (
    clear,
    content,
    fails,
    get,
    listed,
    make_file,
    make_place,
    own_place,
    place_of,
    put,
    tree,
)

MAX_TAG = 31
METHODS = (
    *("stat", "space", "open", "reopen", "create", "make_directory", "make_symlink", "make_link"),
    *("read_symlink", "rename", "remove", "change", "notes", "note", "close"),
)
MODES = (0o600, 0o666, 0o777, 0o1777)  # exactly, whatever the process's umask
MASK = 0o1777


@check("folder")
def says_what_it_is(subject: Subject) -> None:
    """The tag has 1 to 31 bytes, the owner is a pair of numbers, and all methods are there."""
    with subject.serving() as folder:
        tag = folder.tag
        fits = isinstance(tag, str) and 0 < len(tag.encode()) <= MAX_TAG and "\0" not in tag
        demand(fits, f"tag {tag!r} is not a str of 1 to {MAX_TAG} bytes")
        owner = folder.owner
        pair = isinstance(owner, tuple) and [type(each) for each in owner] == [int, int]
        demand(pair, f"owner {owner!r} is no pair of uid and gid")
        for method in METHODS:
            demand(callable(getattr(folder, method, None)), f"there is no method {method}")
        demand(stat.S_ISDIR(folder.stat(b".").st_mode), "the root, b'.', is no directory")
        demand(folder.space().f_bsize > 0, "space() has no size of a block")


@check("folder")
def stores_what_is_written(subject: Subject) -> None:
    """A file that is created, written anywhere, cut off and opened again has these bytes, and
    reading stops at its end.
    """
    with subject.serving() as folder, own_place(folder) as place:
        path = place + b"/file"
        file = folder.create(path, os.O_RDWR, 0o644)
        put(file, 0, b"0123456789")
        put(file, 100_000, b"end")
        put(file, 5, b"abc")
        demand(get(file, 4, 5) == b"4abc8", "what was written over is not there")
        demand(get(file, 99_999, 100) == b"\0end", "a read does not stop at the end of the file")
        demand(get(file, 200_000, 10) == b"", "beyond the end of the file there are bytes")
        file.sync(False)
        file.sync(True)
        file.change(Change(size=8))
        demand(file.stat().st_size == 8, "a file that was cut off has another size")
        file.close()
        demand(content(folder, path) == b"01234abc", "a file that is opened again has other bytes")
        with fails("creating a file that is there", errno.EEXIST):
            folder.create(path, os.O_RDWR, 0o644)
        with fails("opening a file that is not there", errno.ENOENT):
            folder.open(place + b"/none", os.O_RDONLY)
        folder.open(path, os.O_RDWR | os.O_TRUNC).close()
        demand(content(folder, path) == b"", "O_TRUNC leaves what was there")


@check("folder")
def makes_moves_and_removes(subject: Subject) -> None:
    """Names are made, listed, moved over others and taken away; what is not empty, or of the other
    type, stays.
    """
    with subject.serving() as folder, own_place(folder) as place:
        a, b, inner = place + b"/a", place + b"/b\xff\n", place + b"/b\xff\n/c"
        folder.make_directory(a, 0o755)
        make_file(folder, a + b"/c", b"one")
        with fails("removing a directory that is not empty", errno.ENOTEMPTY, errno.EEXIST):
            folder.remove(a, True)
        with fails("removing a directory as a file", errno.EISDIR, errno.EPERM):
            folder.remove(a, False)
        folder.rename(a, b)
        names = [name for name, _ in listed(folder, place)]
        demand(names == [b"b\xff\n"], f"after a rename there are {names}")
        with fails("what has been moved", errno.ENOENT):
            folder.stat(a)
        with fails("removing a file as a directory", errno.ENOTDIR):
            folder.remove(inner, True)
        make_file(folder, a, b"two")
        folder.rename(a, inner)
        demand(content(folder, inner) == b"two", "a rename over a file leaves the other")
        folder.make_link(a, inner)
        same = folder.stat(a).st_ino == folder.stat(inner).st_ino
        demand(same, "a link is another file than what it is to")
        folder.remove(inner, False)
        demand(content(folder, a) == b"two", "a file is gone with one of two names")
        folder.remove(b, True)
        demand(set(tree(folder, place)) == {b"a"}, "what was removed is there")


@check("folder")
def keeps_modes(subject: Subject) -> None:
    """Files and directories have exactly the modes that they are given, but for set-user-id and
    set-group-id.
    """
    old = os.umask(0o077)
    try:
        with subject.serving() as folder, own_place(folder) as place:
            for mode in MODES:
                name = place + b"/%o" % mode
                folder.create(name, os.O_RDWR, mode).close()
                folder.make_directory(name + b"d", mode)
                _has_mode(folder, name, mode)
                _has_mode(folder, name + b"d", mode)
                folder.change(name, Change(mode=0o700))
                _has_mode(folder, name, 0o700)
            folder.change(place + b"/600", Change(accessed=10**18, modified=2 * 10**18))
            found = folder.stat(place + b"/600")
            times = found.st_atime_ns, found.st_mtime_ns
            demand(times == (10**18, 2 * 10**18), f"times are {times}, not what was set")
    finally:
        os.umask(old)


def _has_mode(folder: Any, path: bytes, mode: int) -> None:
    found = stat.S_IMODE(folder.stat(path).st_mode) & MASK
    demand(found == mode, f"a mode is {found:o}, not {mode:o}")


@check("folder")
def follows_no_links(subject: Subject) -> None:
    """Symbolic links are made and read as text, and followed nowhere: neither as what a path ends
    with nor in its middle.
    """
    outside = subject.folder / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_bytes(b"secret")
    before = sorted(outside.iterdir())
    there, secret = os.fsencode(outside), os.fsencode(outside / "secret")
    with subject.serving() as folder, own_place(folder) as place:
        link, inner, to_file = place + b"/link", place + b"/inner", place + b"/file"
        folder.make_symlink(link, there)
        folder.make_symlink(to_file, secret)
        folder.make_directory(inner, 0o755)
        folder.make_symlink(inner + b"/up", b"../../..")
        demand(folder.read_symlink(link) == there, "a link says something else than it was made of")
        demand(stat.S_ISLNK(folder.stat(link).st_mode), "stat of a link is that of where it leads")
        for path in (link + b"/secret", to_file, link, inner + b"/up", inner + b"/up/x"):
            for flags in (os.O_RDONLY, os.O_RDWR | os.O_TRUNC):
                with fails(f"opening {path!r}, through a link,"):
                    folder.open(path, flags).close()
        for path in (link + b"/new", to_file):
            with fails(f"creating {path!r}, through a link,"):
                folder.create(path, os.O_RDWR, 0o644).close()
        with fails("making a directory through a link"):
            folder.make_directory(link + b"/d", 0o755)
        with fails("moving something through a link"):
            folder.rename(inner, link + b"/d")
        with fails("moving something from behind a link"):
            folder.rename(link + b"/secret", place + b"/got")
        with fails("linking to something behind a link"):
            folder.make_link(place + b"/got", link + b"/secret")
        with fails("removing something behind a link"):
            folder.remove(link + b"/secret", False)
        with fails("changing something behind a link"):
            folder.change(link + b"/secret", Change(size=0))
    demand(sorted(outside.iterdir()) == before, "something outside was made or removed")
    demand((outside / "secret").read_bytes() == b"secret", "something outside was changed")


@check("folder")
def stays_below_its_root(subject: Subject) -> None:
    """Paths that climb with `..` or are those of files outside are refused, whatever is asked."""
    outside = subject.folder / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "file").write_bytes(b"outside")
    new = place_of()
    with subject.serving() as folder, own_place(folder) as place:
        inner = place + b"/inner"
        folder.make_directory(inner, 0o755)
        absolute = os.fsencode(outside)
        made = (b"../" + new, place + b"/../../" + new, absolute + b"/" + new)
        try:
            for path in (b"..", inner + b"/../../..", absolute, absolute + b"/file", *made):
                _refused(folder, path, inner)
        finally:
            for path in made:
                with suppress(OSError):
                    folder.remove(path, False)
    demand((outside / "file").read_bytes() == b"outside", "a file outside was changed")


def _refused(folder: Any, path: bytes, inner: bytes) -> None:
    with fails(f"stat of {path!r}"):
        folder.stat(path)
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_TRUNC):
        with fails(f"opening {path!r}"):
            folder.open(path, flags).close()
    with fails(f"creating {path!r}"):
        folder.create(path, os.O_RDWR, 0o644).close()
    with fails(f"making the directory {path!r}"):
        folder.make_directory(path, 0o755)
    with fails(f"making the link {path!r}"):
        folder.make_symlink(path, b"x")
    with fails(f"moving something to {path!r}"):
        folder.rename(inner, path)
    with fails(f"changing {path!r}"):
        folder.change(path, Change(accessed=0))
    with fails(f"removing {path!r}"):
        folder.remove(path, True)


@check("folder")
def reads_what_has_lost_its_name(subject: Subject) -> None:
    """A file that is open is read and written on when its name is gone or another's."""
    with subject.serving() as folder, own_place(folder) as place:
        path = place + b"/file"
        make_file(folder, path, b"first")
        file = folder.open(path, os.O_RDWR)
        folder.remove(path, False)
        make_file(folder, path, b"second")
        put(file, 5, b" one")
        demand(get(file, 0, 100) == b"first one", "an open file has lost its bytes with its name")
        demand(content(folder, path) == b"second", "the new file of the name is changed")
        file.close()


@check("folder")
def reopens_what_was_open(subject: Subject) -> None:
    """What an earlier incarnation had open is opened again whatever its mode is, and only if it is
    the same file: otherwise ESTALE.
    """
    place = place_of()
    path = place + b"/file"
    with subject.serving() as folder:
        make_place(folder, place)
        make_file(folder, path, b"bytes")
        inode = folder.stat(path).st_ino
        folder.change(path, Change(mode=0o444))
    with subject.serving() as heir:
        try:
            file = heir.reopen(path, os.O_RDWR, inode)
            put(file, 0, b"B")
            demand(get(file, 0, 9) == b"Bytes", "what is opened again has other bytes")
            file.close()
            _has_mode(heir, path, 0o444)
            with fails("opening again what has another inode", errno.ESTALE):
                heir.reopen(path, os.O_RDONLY, inode + 1)
        finally:
            clear(heir, place)


@check("folder")
def is_unchanged_if_readonly(subject: Subject) -> None:
    """A folder that refuses one change with EROFS refuses all, and can be read."""
    with subject.serving() as folder:
        place = place_of()
        try:
            folder.make_directory(place, 0o755)
        except OSError as error:
            demand(error.errno == errno.EROFS, f"a directory cannot be made: {error.strerror}")
        else:
            clear(folder, place)
            raise InapplicableError("the folder can be written")
        before = folder.stat(b".")
        listed(folder, b".")
        with fails("creating a file", errno.EROFS):
            folder.create(place, os.O_RDWR, 0o644).close()
        with fails("making a symbolic link", errno.EROFS):
            folder.make_symlink(place, b"x")
        with fails("changing the root's mode", errno.EROFS):
            folder.change(b".", Change(mode=stat.S_IMODE(before.st_mode)))
        for name, mode in listed(folder, b"."):
            if not stat.S_ISREG(mode):
                continue
            with fails("opening a file to write to it", errno.EROFS):
                folder.open(name, os.O_RDWR).close()
            with fails("linking to a file", errno.EROFS):
                folder.make_link(place, name)
        demand(folder.stat(b".").st_mtime_ns == before.st_mtime_ns, "the root has changed")


@check("folder")
def stands_by(subject: Subject) -> None:
    """One that was opened while another serves sees, from `begin` on, all that the other did until
    then, and its notes.
    """
    place = place_of()
    with subject.opened() as second:
        with subject.serving() as first:
            make_place(first, place)
            notes = list(first.notes())
            first.note(b"a note", lambda: [*notes, b"a note"])
            make_file(first, place + b"/file", b"bytes")
        begin(second)
        try:
            demand(list(second.notes()) == [*notes, b"a note"], "the standby has other notes")
            found = tree(second, place)
            wanted = {b"file": ("file", 0o644, b"bytes")}
            demand(found == wanted, f"the standby finds {found}, not {wanted}")
        finally:
            clear(second, place)
