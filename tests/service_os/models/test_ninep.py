"""The model and the driver for directories together, over real ones; the test is the guest."""

import errno
import os
import stat
import struct
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import folder_directory
from drivers.interface import Keep
from drivers.registry import make
from protos.io_pb2 import Request
from service_os.models import ninep_fids, ninep_listings
from service_os.models import ninep_wire as wire
from service_os.models.ninep import MSIZE, NinepModel
from service_os.models.ninep_wire import T
from tests.service_os.models.ninep_client import NOFID, RLERROR, Client, message, text


class Death(BaseException):
    """Stands for SIGKILL."""


class Served:
    """A folder at `share` in a directory, served by one incarnation after another."""

    def __init__(self, base, options=""):
        self.share = base / "share"
        self.share.mkdir(exist_ok=True)
        self.spec, self.keep = f"directory:path={self.share}{options}", Keep(base / "keep")
        self.generation = 0
        self.driver = None
        self.next()

    def next(self):
        """The next incarnation; nothing that the one before knew is left but its notes."""
        self.close()
        self.driver = make("folder", self.spec, self.keep)
        self.driver.begin()
        self.model = NinepModel(b"", self.driver)

    def close(self):
        if self.driver is not None:
            self.model._memory.close()
            self.driver.close()

    def exchange(self, data, room=1 << 20, again=False):
        self.generation += not again
        writable = memoryview(bytearray(room))
        request = Request(generation=self.generation)
        (done,) = self.model.submit(request, memoryview(data), writable)
        assert self.model.state() == b""
        return bytes(writable[: done.written])


@pytest.fixture
def served(tmp_path):
    one = Served(tmp_path)
    yield one
    one.close()


@pytest.fixture
def client(served):
    one = Client(served.exchange)
    one.mount()
    return one


@contextmanager
def fails(*names):
    with pytest.raises(OSError) as raised:  # noqa: PT011  its number is looked at
        yield
    assert raised.value.errno in [getattr(errno, name) for name in names]


def test_the_guest_finds_a_tag_and_a_queue_that_answers_in_order(tmp_path):
    one = Served(tmp_path, ",tag=häuser")
    shape = one.model.shape
    assert (shape.device_id, shape.features) == (9, 1)
    assert shape.config_space == b"\x07\0h\xc3\xa4user"
    assert [(queue.max_size, queue.ordered) for queue in shape.queues] == [(128, True)]
    one.close()


def test_a_session_begins_with_the_version_and_what_fits(served):
    client = Client(served.exchange)
    with fails("EPROTO"):
        client.walk()
    assert client.call(T.VERSION, (1 << 30, 4), text(b"9P2000.L"))[:4] == struct.pack("<I", MSIZE)
    assert client.call(T.VERSION, (8192, 4), text(b"9P2000.u"))[4:] == text(b"unknown")
    with fails("EPROTO"):
        client.walk()
    with fails("EMSGSIZE"):
        client.call(T.VERSION, (4095, 4), text(b"9P2000.L"))
    assert client.mount(8192) == 8192
    with fails("EBADF"):
        client.call(T.ATTACH, (0, 4), (NOFID, 4), text(b""), text(b""), (0, 4))
    with fails("ENOENT"):
        client.call(T.ATTACH, (9, 4), (NOFID, 4), text(b""), text(b"/etc"), (0, 4))
    with fails("EOPNOTSUPP"):
        client.call(T.ATTACH, (9, 4), (0, 4), text(b""), text(b""), (0, 4))
    with fails("EOPNOTSUPP"):
        client.call(T.AUTH, (9, 4), text(b""), text(b""), (0, 4))


def test_files_are_made_written_read_and_taken_away(served, client):
    fid = client.create(b"a", mode=0o640)
    assert client.write(fid, b"hello, world") == 12
    assert client.read(fid, 5, 7) == b"world"
    assert client.read(fid, 5, 100) == b""
    assert (served.share / "a").read_bytes() == b"hello, world"
    mode, uid, gid, size, _, inode = client.getattr(fid)
    assert (mode, uid, gid, size) == (stat.S_IFREG | 0o640, 0, 0, 12)
    assert inode == (served.share / "a").stat().st_ino
    client.call(T.FSYNC, (fid, 4), (1, 4))
    client.clunk(fid)
    with fails("EBADF"):
        client.read(fid)
    client.remove(client.walk(b"a"))
    assert os.listdir(served.share) == []
    with fails("ENOENT"):
        client.walk(b"a")


def test_an_open_file_lives_on_without_its_name(served, client):
    fid = client.create(b"a")
    client.unlink(b"a")
    client.write(fid, b"x")
    assert (client.read(fid), client.getattr(fid)[3]) == (b"x", 1)


def test_names_move_and_so_do_fids_below_them(served, client):
    client.mkdir(b"d")
    d = client.walk(b"d")
    fid = client.create(b"f", start=d)
    other = client.walk(b"d", b"f")
    client.write(fid, b"1")
    client.rename(b"d", b"e")
    client.call(T.RENAME, (other, 4), (0, 4), text(b"g"))
    assert client.read(client.open(b"g")) == b"1"
    client.mkdir(b"sub", start=d)
    assert (served.share / "e" / "sub").is_dir()
    with fails("EINVAL"):
        client.rename(b"e", b"x", to=client.walk(b"e"))
    with fails("ENOENT"):
        client.rename(b"none", b"x")


def test_links_are_shown_and_never_followed(served, client, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    for name, target in ((b"abs", b"/etc/passwd"), (b"up", b"../secret"), (b"dir", b"../outside")):
        client.symlink(name, target)
        assert client.readlink(name) == target
        assert stat.S_ISLNK(client.getattr(client.walk(name))[0])
        with fails("ELOOP"):
            client.open(name)
        with fails("ELOOP"):
            client.open(name, flags=os.O_WRONLY | os.O_TRUNC)
    (served.share / "proc").symlink_to("/proc/self/fd")
    for link in (b"dir", b"proc"):
        with fails("ELOOP", "ENOTDIR", "ENOENT"):
            client.walk(link, b"0")
        fid = client.walk(link)
        with fails("ELOOP", "ENOTDIR"):
            client.mkdir(b"x", start=fid)
        with fails("ELOOP", "ENOTDIR"):
            client.create(b"x", start=fid)
    with fails("EEXIST"):
        client.create(b"up", flags=os.O_RDWR | os.O_EXCL)
    with fails("ELOOP"):
        client.create(b"up", flags=os.O_RDWR)
    hard = client.walk(b"up")
    client.link(b"up2", hard)  # of the link, not of what it says
    assert client.readlink(b"up2") == b"../secret"
    with fails("ELOOP", "EOPNOTSUPP", "EINVAL"):
        client.setattr(hard, 8, size=0)
    assert (tmp_path / "secret").read_text() == "secret"
    assert os.listdir(tmp_path / "outside") == []


def test_no_name_leads_out(served, client, tmp_path):
    (tmp_path / "secret").touch()
    fid = client.walk(b"..", b"..", b"..")
    assert client.getattr(fid)[5] == served.share.stat().st_ino
    with fails("ENOENT"):
        client.walk(b"..", b"secret")
    for name in (b"../secret", b"/etc", b"a/b", b"", b".", b"a\0b"):
        with fails("EINVAL"):
            client.walk(name)
        with fails("EINVAL"):
            client.create(name)
    for name in (b"..", b"../x", b"/tmp/x"):
        for make_one in (client.mkdir, client.create, client.unlink):
            with fails("EINVAL"):
                make_one(name)
        with fails("EINVAL"):
            client.rename(name, b"y")
        with fails("EINVAL"):
            client.symlink(name, b"x")
    for change in (client.remove, lambda fid: client.call(T.RENAME, (fid, 4), (0, 4), text(b"z"))):
        with fails("EBUSY"):
            change(client.walk())
    assert sorted(os.listdir(tmp_path)) == ["keep", "secret", "share"]


def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(served, client, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("secret")
    inside = served.share / "d"
    inside.mkdir()
    (inside / "f").write_text("public")
    (served.share / "link").symlink_to(outside)
    over = threading.Event()

    def swap():
        names = [served.share / name for name in ("d", "link", "third")]
        while not over.is_set():
            names[0].rename(names[2])
            names[1].rename(names[0])
            names[2].rename(names[1])
            names[0], names[1] = names[0], names[1]

    swapper = threading.Thread(target=swap)
    swapper.start()
    got = 0
    try:
        for _ in range(1500):
            fids = []
            for names in ((b"d", b"f"), (b"d",)):
                try:
                    fids.append(client.walk(*names))
                    if len(names) == 2:
                        client.call(T.LOPEN, (fids[-1], 4), (os.O_RDWR, 4))
                        assert client.read(fids[-1]) == b"public"
                        got += 1
                    else:
                        client.create(b"made", start=fids[-1])
                except OSError as error:
                    assert error.errno in (  # noqa: PT017
                        errno.ENOENT,
                        errno.ELOOP,
                        errno.ENOTDIR,
                    )
            client.mount()
    finally:
        over.set()
        swapper.join()
    assert got
    assert os.listdir(outside) == ["f"]


def test_what_is_no_file_is_shown_and_not_opened(served, client):
    os.mkfifo(served.share / "fifo")
    kinds = {b"fifo": stat.S_IFIFO}
    if os.geteuid() == 0:
        os.mknod(served.share / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        kinds[b"null"] = stat.S_IFCHR
    for name, kind in kinds.items():
        assert stat.S_IFMT(client.getattr(client.walk(name))[0]) == kind
        for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            with fails("ENXIO"):
                client.open(name, flags=flags)
            with fails("ENXIO"):
                client.create(name, flags=flags)
    for kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK):
        with fails("EPERM"):
            client.mknod(b"made", kind | 0o644)
    client.mknod(b"made", stat.S_IFREG | 0o644)
    listed = {name: kind << 12 for name, _, kind, _ in client.readdir(client.open())}
    assert kinds.items() <= listed.items()
    assert listed[b"made"] == stat.S_IFREG


def test_modes_are_kept_but_for_those_that_hand_on_rights(served, client):
    before = os.umask(0o077)
    try:
        client.create(b"a", mode=0o6777)
        client.mkdir(b"d", mode=0o1777)
    finally:
        os.umask(before)
    assert stat.S_IMODE((served.share / "a").stat().st_mode) == 0o777
    assert stat.S_IMODE((served.share / "d").stat().st_mode) == 0o1777
    fid = client.walk(b"a")
    client.setattr(fid, 1, mode=0o4711)
    assert stat.S_IMODE(client.getattr(fid)[0]) == 0o711


def test_attributes_are_set(served, client):
    fid = client.create(b"a")
    client.write(fid, b"12345")
    for one in (fid, client.walk(b"a")):
        client.setattr(one, 8, size=2)
        assert client.getattr(one)[3] == 2
        client.setattr(one, 0x1A0, mtime=(981_173_106, 5))
        assert client.getattr(one)[4] == 981_173_106_000_000_005
        client.setattr(one, 0x120, mtime=((1 << 64) - 2, 0))
        assert (served.share / "a").stat().st_mtime_ns == -2_000_000_000
        client.setattr(one, 0x20)
        assert (served.share / "a").stat().st_mtime_ns > 981_173_107_000_000_000
        client.setattr(one, 6)  # it is root's anyway
        with fails("EPERM"):
            client.setattr(one, 2, uid=1000)
        with fails("EINVAL"):
            client.setattr(one, 0x120, mtime=(0, 1_000_000_000))
        with fails("EINVAL"):
            client.setattr(one, 8, size=1 << 63)
        client.setattr(one, 0x120, mtime=((1 << 63) - 1, 0))  # as late as the file system knows


def test_names_of_any_bytes_and_their_limits(served, client):
    names = [b"\xff\xfe", "häuser".encode(), b"a\nb", b"x" * 255, b" ", b"-rf"]
    for name in names:
        client.create(name)
    assert client.list(client.open()) == sorted(names)
    for name in (b"x" * 256, b"x" * 65535):
        with fails("ENAMETOOLONG"):
            client.create(name)
    at = 0
    with fails("ENAMETOOLONG"):
        for _ in range(30):
            client.mkdir(b"d" * 200, start=at)
            at = client.walk(b"d" * 200, start=at)


def test_a_directory_is_read_piece_by_piece_whatever_happens_to_it(served, client):
    for i in range(300):
        (served.share / f"file{i}").touch()
    fid = client.open()
    assert len(client.list(fid, count=300)) == 300
    first = client.readdir(fid, count=2000)
    for name, *_ in first:
        if name not in (b".", b".."):
            client.unlink(name)
    served.next()
    seen, offset = {entry[0] for entry in first}, first[-1][1]
    while found := client.readdir(fid, offset, 2000):
        assert not seen & {entry[0] for entry in found}
        seen |= {entry[0] for entry in found}
        offset = found[-1][1]
    assert len(seen) == 302
    with fails("EINVAL"):
        client.readdir(fid, 0, 10)


def test_paths_grow_by_no_rename_beyond_what_is_kept(served, client, monkeypatch):
    monkeypatch.setattr(ninep_fids, "MAX_PATH_BYTES", 300)
    client.mkdir(b"a")
    for _ in range(10):
        client.walk(b"a")
    with fails("ENFILE"):
        client.rename(b"a", b"b" * 50)
    client.rename(b"a", b"b" * 20)
    assert [path.name for path in served.share.iterdir()] == ["b" * 20]


def test_of_many_directories_that_are_read_at_once_few_are_kept(served, client, monkeypatch):
    monkeypatch.setattr(ninep_listings, "KEPT", 300)
    names = [f"file{i}".encode() for i in range(200)]
    for name in names:
        (served.share / os.fsdecode(name)).touch()
    fids = [client.open() for _ in range(4)]
    seen, offsets = [[] for _ in fids], [0] * 4
    while offsets:
        for one, fid in zip(seen, fids, strict=True):
            found = client.readdir(fid, offsets.pop(0), 2000)
            one += [entry[0] for entry in found]
            offsets += [found[-1][1]] if found else []
            listed = [fid.entries for fid in served.model._memory.fids.values() if fid.entries]
            assert len(listed) <= 2
    assert [sorted(one) for one in seen] == [sorted([b".", b"..", *names])] * 4


def test_a_directory_of_too_many_names_cannot_be_read(served, client, monkeypatch):
    monkeypatch.setattr(folder_directory, "NAMES", 10)
    for i in range(10):
        (served.share / f"file{i}").touch()
    fid = client.open()
    assert len(client.list(fid)) == 10
    (served.share / "one more").touch()
    with fails("EOVERFLOW"):
        client.readdir(fid)


def test_locks_are_granted_and_attributes_with_names_do_not_exist(client):
    fid = client.create(b"a")
    parts = (fid, 4), (1, 1), (0, 4), (0, 8), (0, 8), (7, 4), text(b"me")
    assert client.call(T.LOCK, *parts) == b"\0"
    parts = (fid, 4), (1, 1), (0, 8), (5, 8), (7, 4), text(b"me")
    free = b"\2" + bytes(8) + b"\5" + bytes(7) + b"\7\0\0\0" + text(b"me")
    assert client.call(T.GETLOCK, *parts) == free
    with fails("EOPNOTSUPP"):
        client.call(T.XATTRWALK, (fid, 4), (9, 4), text(b"user.x"))
    assert client.call(T.FLUSH, (3, 2)) == b""
    assert len(client.call(T.STATFS, (fid, 4))) == 60


def test_a_read_only_folder_is_not_changed_in_any_way(tmp_path):
    one = Served(tmp_path, ",readonly")
    (one.share / "a").write_text("text")
    before = (one.share / "a").stat()
    client = Client(one.exchange)
    client.mount()
    a = client.walk(b"a")
    attempts = [
        lambda: client.open(b"a", flags=os.O_WRONLY),
        lambda: client.open(b"a", flags=os.O_TRUNC),
        lambda: client.create(b"b"),
        lambda: client.create(b"a"),
        lambda: client.mkdir(b"d"),
        lambda: client.symlink(b"l", b"a"),
        lambda: client.link(b"l", a),
        lambda: client.mknod(b"n", 0o644),
        lambda: client.rename(b"a", b"b"),
        lambda: client.unlink(b"a"),
        lambda: client.setattr(a, 1, mode=0o777),
        lambda: client.setattr(client.open(b"a"), 1, mode=0o777),
        lambda: client.remove(client.walk(b"a")),
    ]
    for attempt in attempts:
        with fails("EROFS"):
            attempt()
    assert client.read(client.open(b"a")) == b"text"
    after = (one.share / "a").stat()
    assert (before.st_ctime_ns, before.st_mtime_ns) == (after.st_ctime_ns, after.st_mtime_ns)
    assert os.listdir(one.share) == ["a"]
    one.close()


def test_too_many_fids_and_open_files_are_refused(served, client, monkeypatch):
    monkeypatch.setattr(ninep_fids, "MAX_FIDS", 10)
    fids = [client.walk() for _ in range(9)]
    with fails("ENFILE"):
        client.walk()
    client.clunk(fids.pop())
    monkeypatch.setattr(ninep_fids, "MAX_OPEN", 2)
    for fid in fids[:2]:
        client.call(T.LOPEN, (fid, 4), (0, 4))
    with fails("ENFILE"):
        client.call(T.LOPEN, (fids[2], 4), (0, 4))
    client.clunk(fids[0])
    client.call(T.LOPEN, (fids[2], 4), (0, 4))
    monkeypatch.setattr(ninep_fids, "MAX_PATH_BYTES", 100)
    with fails("ENFILE"):
        client.mkdir(b"x" * 200)
        client.walk(b"x" * 200)


def test_a_reply_needs_room(served, client):
    asked = message(T.GETATTR, 1, (0, 4), (0x7FF, 8))
    assert served.exchange(asked, room=100) == wire.error(1, errno.EMSGSIZE)
    assert served.exchange(asked, room=10) == b""
    fid = client.open(b"..")
    for room in (0, 7, 10, 11, 12, 100):
        served.exchange(message(T.READ, 1, (fid, 4), (0, 8), (50, 4)), room)
        served.exchange(message(T.READDIR, 1, (fid, 4), (0, 8), (50, 4)), room)


@given(st.lists(st.tuples(st.sampled_from([*T]), st.binary(max_size=40)), max_size=8))
def test_nonsense_is_answered(tmp_path_factory, calls):
    one = Served(tmp_path_factory.mktemp("nonsense"))
    Client(one.exchange).mount()
    for kind, body in calls:
        reply = one.exchange(message(kind, 5, body))
        assert reply[4] in (kind + 1, wire.RLERROR)
    one.next()
    one.close()


WORK = {
    "create": lambda c: c.create(b"new", mode=0o444),
    "create over": lambda c: c.create(b"file", flags=os.O_RDWR | os.O_TRUNC),
    "create exclusively": lambda c: c.create(b"new", flags=os.O_RDWR | os.O_EXCL),
    "create exclusively what is there": lambda c: c.create(b"file", flags=os.O_EXCL),
    "mkdir": lambda c: c.mkdir(b"new", mode=0o710),
    "mkdir what is there": lambda c: c.mkdir(b"dir"),
    "symlink": lambda c: c.symlink(b"new", b"target"),
    "symlink what is there": lambda c: c.symlink(b"file", b"target"),
    "link": lambda c: c.link(b"new", 100),
    "link what is there": lambda c: c.link(b"dir", 100),
    "mknod": lambda c: c.mknod(b"new", 0o600),
    "rename": lambda c: c.rename(b"file", b"new"),
    "rename over": lambda c: c.rename(b"file", b"other"),
    "rename a directory": lambda c: c.rename(b"dir", b"new"),
    "rename onto a full one": lambda c: c.rename(b"empty", b"dir"),
    "rename what is not there": lambda c: c.rename(b"none", b"new"),
    "unlink": lambda c: c.unlink(b"file"),
    "unlink what is not there": lambda c: c.unlink(b"none"),
    "rmdir": lambda c: c.unlink(b"empty", wire.AT_REMOVEDIR),
    "rmdir a full one": lambda c: c.unlink(b"dir", wire.AT_REMOVEDIR),
    "remove": lambda c: c.remove(101),
    "walk": lambda c: c.walk(b"dir", b"below"),
    "walk in part": lambda c: c.walk(b"dir", b"none"),
    "clunk": lambda c: c.clunk(100),
    "open": lambda c: c.open(b"file", flags=os.O_RDWR | os.O_TRUNC),
    "write": lambda c: c.write(102, b"more", 4),
    "truncate": lambda c: c.setattr(102, 8, size=3),
    "read": lambda c: c.read(102),
}


def tree(base):
    """All that a guest could tell of it, but for times and inodes."""
    found = {}
    for path in sorted(base.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        found[str(path.relative_to(base))] = status.st_mode, status.st_nlink, content
    return found


def prepared(base):
    """A served folder with something in it, and a client with fids there."""
    base.mkdir()
    one = Served(base)
    for name in ("dir", "empty"):
        (one.share / name).mkdir()
    for name in ("file", "other", "dir/below"):
        (one.share / name).write_text(f"text of {name}")
    client = Client(one.exchange)
    client.mount()
    client.walk(b"file", fid=100)
    client.walk(b"other", fid=101)
    client.walk(b"dir", b"below", fid=102)
    client.call(T.LOPEN, (102, 4), (os.O_RDWR, 4))
    one.next()
    return one, client


def outcome(work, client):
    try:
        return work(client)
    except OSError as error:
        return error.errno


class Fragile:
    """The driver, until it dies before or after its call number `dies_at`."""

    def __init__(self, driver, dies_at, after):
        self._driver, self._left, self._after = driver, dies_at, after

    def __getattr__(self, name):
        value = getattr(self._driver, name)
        if not callable(value) or name == "close":
            return value

        def call(*arguments):
            self._left -= 1
            if not self._left and not self._after:
                raise Death
            result = value(*arguments)
            if not self._left:
                raise Death
            return result

        return call


@pytest.mark.parametrize("bytes_of_notes", [folder_directory.NOTES_BYTES, 0], ids=["few", "many"])
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_death_anywhere_in_a_request_changes_neither_answer_nor_outcome(
    tmp_path, monkeypatch, work, bytes_of_notes
):
    monkeypatch.setattr(folder_directory, "NOTES_BYTES", bytes_of_notes)
    one, client = prepared(tmp_path / "whole")
    expected, expected_fids = outcome(work, client), one.model._memory.fids
    expected_tree = tree(one.share)
    expected_fids = {number: (fid.path, fid.flags) for number, fid in expected_fids.items()}
    one.close()
    deaths, number, survived = 0, 0, False
    while not survived:
        number += 1
        survived = True
        for after in (False, True):
            one, client = prepared(tmp_path / f"{number}.{after}")
            fragile = Fragile(one.driver, number, after)
            operations, memory = one.model._operations, one.model._memory
            operations._driver = operations._changes._driver = fragile
            memory.note = fragile.note

            def exchange(data, one=one):
                nonlocal deaths, survived
                try:
                    return one.exchange(data)
                except Death:
                    deaths, survived = deaths + 1, False
                    one.next()
                    return one.exchange(data, again=True)

            client.exchange = exchange
            client.fids = iter(range(1, 99))
            assert outcome(work, client) == expected
            client.exchange = one.exchange
            fids = one.model._memory.fids
            assert {n: (fid.path, fid.flags) for n, fid in fids.items()} == expected_fids
            assert tree(one.share) == expected_tree
            one.next()
            fids = one.model._memory.fids
            assert {n: (fid.path, fid.flags) for n, fid in fids.items()} == expected_fids
            one.close()
    assert deaths


def test_what_is_done_again_before_it_hides_no_change_that_was_begun(served, client):
    """Both were in flight, and what was made by the second has the first succeed now."""
    walk, mkdir = (
        message(T.WALK, 7, (0, 4), (50, 4), (1, 2), text(b"new")),
        message(T.MKDIR, 8, (0, 4), text(b"new"), (0o755, 4), (0, 4)),
    )
    assert served.exchange(walk)[4] == RLERROR
    memory = served.model._memory
    note = memory.note

    def dies(record, instead):
        if record[:1] == ninep_fids.ANSWER:
            raise Death
        note(record, instead)

    memory.note = dies
    with pytest.raises(Death):
        served.exchange(mkdir)
    served.next()
    served.generation -= 2
    assert served.exchange(walk)[4] == T.WALK + 1
    assert served.exchange(mkdir)[4] == T.MKDIR + 1


def test_what_was_answered_is_answered_again_without_being_done_again(served, client):
    asked = message(T.UNLINKAT, 5, (0, 4), text(b"a"), (0, 4))
    client.create(b"a")
    answer = served.exchange(asked)
    assert answer[4] == T.UNLINKAT + 1
    served.next()
    (served.share / "a").write_text("of somebody else")
    assert served.exchange(asked, again=True) == answer
    assert (served.share / "a").exists()
    assert served.exchange(asked)[4] == T.UNLINKAT + 1  # another request is another
    assert served.exchange(asked) == wire.error(5, errno.ENOENT)


def test_a_file_replaced_while_nobody_served_is_stale(served, client):
    fid = client.create(b"a")
    client.write(fid, b"1")
    served.next()
    assert client.read(fid) == b"1"
    served.next()
    (served.share / "b").write_text("2")
    (served.share / "b").rename(served.share / "a")
    with fails("ESTALE"):
        client.read(fid)
    with fails("ESTALE"):
        client.write(fid, b"x")
    assert (served.share / "a").read_text() == "2"


def test_notes_are_said_anew_before_they_are_too_many(served, client, monkeypatch):
    monkeypatch.setattr("drivers.folder_directory.NOTES_BYTES", 5000)
    served.next()
    kept = client.create(b"kept")
    for i in range(400):
        client.clunk(client.walk(b"kept"))
        client.rename(b"kept", b"moved")
        client.rename(b"moved", b"kept")
        assert served.keep.path.stat().st_size < 60_000, i
    served.next()
    client.write(kept, b"x")
    assert (served.share / "kept").read_text() == "x"
    assert set(served.model._memory.fids) == {0, kept}
