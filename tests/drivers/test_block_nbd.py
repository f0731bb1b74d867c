import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading

import pytest

from drivers.interface import Ability, DriverError, Keep, MediumError, SpecError
from drivers.registry import check, content, make
from tests.drivers.nbd_disks import begun, got, opened, put
from tests.drivers.nbd_servers import make_image, nbdkit, program, qemu_nbd

SIZE = 4 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.sock"


@pytest.fixture
def image(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(SIZE))
    return image


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_disk_of_qemu(tmp_path, path, image_format):
    image = make_image(tmp_path / "disk", SIZE, image_format)
    with qemu_nbd(path, image, "--discard=unmap", image_format=image_format):
        with begun(path) as disk:
            assert (disk.size, disk.readonly, disk.identity) == (SIZE, False, "nbd")
            assert disk.abilities == Ability.DISCARD | Ability.WRITE_ZEROES
            data = random.Random(1).randbytes(SIZE)
            put(disk, 0, data)
            put(disk, 512, data[:512])
            disk.flush()
            disk.discard(1 << 20, 1 << 20)
            disk.write_zeroes(2 << 20, 65536, unmap=True)
            disk.write_zeroes((2 << 20) + 65536, 512, unmap=False)
        with begun(path) as disk:
            assert got(disk, 0, 1 << 20) == data[:512] + data[:512] + data[1024 : 1 << 20]
            assert got(disk, 1 << 20, 1 << 20) in (bytes(1 << 20), data[1 << 20 : 2 << 20])
            end = (2 << 20) + 65536 + 512
            assert got(disk, 2 << 20, 65536 + 512) == bytes(65536 + 512)
            assert got(disk, end, SIZE - end) == data[end:]


def test_an_export_by_name(path, image):
    with qemu_nbd(path, image, "--export-name=web disk"):
        with begun(path, ",export=web disk") as disk:
            assert disk.identity == "web disk"
            put(disk, 0, b"a" * 512)
        with pytest.raises(DriverError) as error:
            opened(path, ",export=other")
    assert f"NBD server unix:{path} export 'other': it has no such export: name" in str(error.value)
    assert "\n" not in str(error.value)
    assert image.read_bytes()[:513] == b"a" * 512 + b"\0"


def test_a_disk_by_host_and_port(tmp_path, path, image):
    port = _free_port()
    with subprocess.Popen(
        [
            *(program("nbdkit"), "--foreground", f"--port={port}", "--ipaddr=127.0.0.1"),
            *("-P", tmp_path / "pid", "memory", "1M"),
        ]
    ) as server:
        try:
            _until((tmp_path / "pid").exists)
            spec = f"nbd:host=127.0.0.1,port={port}"
            disk = make("block", spec, Keep(path))
            disk.begin()
            put(disk, 512, b"b" * 512)
            assert got(disk, 0, 1024) == bytes(512) + b"b" * 512
            disk.close()
            assert content("block", spec) == f"nbd 127.0.0.1:{port} "
        finally:
            server.kill()


def test_a_server_that_is_read_only(path, image):
    with qemu_nbd(path, image, "--read-only"), begun(path) as disk:
        assert disk.readonly
        with pytest.raises(MediumError, match=r"or the export is read-only|not permitted"):
            put(disk, 0, bytes(512))
        assert got(disk, 0, 512) == bytes(512)
        disk.flush()


def test_a_server_that_can_do_nothing_besides(path):
    filters = ("--filter=nozero", "--filter=fua", "memory", "1M")
    with nbdkit(path, *filters), begun(path, ",fua") as disk:
        assert Ability.WRITE_ZEROES not in disk.abilities
        put(disk, 0, b"a" * 4096)
        disk.write_zeroes(512, 1024, unmap=False)
        assert got(disk, 0, 4096) == b"a" * 512 + bytes(1024) + b"a" * 2560


def test_fua_is_asked_for_where_it_is_offered_and_a_flush_otherwise(path, tmp_path):
    log = tmp_path / "log"
    for mode, asked in ((["fuamode=native"], "fua=1"), ([], "Flush")):
        filters = ("--filter=log", "--filter=fua", "memory", "1M", f"logfile={log}")
        with nbdkit(path, *filters, *mode), begun(path, ",fua") as disk:
            put(disk, 0, bytes(512))
        assert asked in log.read_text()
        log.unlink()


def test_requests_are_split_as_the_server_wants(path, tmp_path):
    log = tmp_path / "log"
    sizes = ("blocksize-minimum=1", "blocksize-preferred=4096", "blocksize-maximum=65536")
    more = ("blocksize-error-policy=error", f"logfile={log}")
    filters = ("--filter=log", "--filter=blocksize-policy", "memory", "1M", *sizes, *more)
    with nbdkit(path, *filters), begun(path) as disk:
        assert disk.block_size == 4096
        data = random.Random(2).randbytes(200 * 1024)
        put(disk, 512, data)
        assert got(disk, 512, len(data)) == data
    assert log.read_text().count("connection=2 Write id=") == 4


def test_blocks_that_are_too_large_are_refused(path):
    sizes = ("blocksize-minimum=4096", "blocksize-preferred=4096")
    with (
        nbdkit(path, "--filter=blocksize-policy", "memory", "1M", *sizes),
        pytest.raises(DriverError, match="nothing smaller than 4096 bytes: put something before"),
    ):
        opened(path)


def test_errors_of_the_server_are_the_guests(path, tmp_path):
    trigger = tmp_path / "fail"
    filters = ("--filter=error", "memory", "1M", "error=ENOSPC", "error-rate=1")
    with nbdkit(path, *filters, f"error-file={trigger}"), begun(path) as disk:
        put(disk, 0, b"a" * 512)
        trigger.touch()
        with pytest.raises(MediumError, match="no space left: free some room there"):
            put(disk, 0, b"b" * 512)
        with pytest.raises(MediumError, match=f"NBD server unix:{path}: no space left"):
            got(disk, 0, 512)
        trigger.unlink()
        assert got(disk, 0, 512) == b"a" * 512


def test_a_server_that_dies_under_load_and_comes_back_is_waited_for(path, image):
    with qemu_nbd(path, image) as server, begun(path) as disk:
        work = _Work(disk)
        for _ in range(5):
            work.wait_for(50)
            server.kill()
            server.start()
        work.end()
        assert work.error is None
        assert image.read_bytes() == work.expected


@pytest.mark.parametrize("more", ["", ",fua"])
def test_what_a_server_of_qcow2_loses_is_sent_again(tmp_path, path, more):
    image = make_image(tmp_path / "disk", SIZE, "qcow2")
    with qemu_nbd(path, image, image_format="qcow2") as server, begun(path, more) as disk:
        work = _Work(disk)
        for _ in range(3):
            work.wait_for(50)
            server.kill()
            server.start()
        work.end()
        assert work.error is None
        assert got(disk, 0, SIZE) == work.expected


def test_writes_are_kept_until_a_flush_and_not_for_ever(tmp_path, path):
    log = tmp_path / "log"
    filters = ("--filter=log", "memory", "64M", f"logfile={log}")
    with nbdkit(path, *filters) as server, begun(path) as disk:
        put(disk, 0, b"a" * 512)
        assert log.read_text().count(" Flush id=") == 1  # of what an earlier one may have left
        disk.flush()
        for i in range(20):
            put(disk, i << 20, b"b" * (1 << 20))
        assert log.read_text().count(" Flush id=") == 4
        server.kill()
        server.start()
        assert got(disk, 15 << 20, 512) == bytes(512)  # it lost what it had said to be durable
        assert got(disk, 19 << 20, 512) == b"b" * 512
        disk.write_zeroes(19 << 20, 512, unmap=False)
        disk.discard(18 << 20, 512)
        server.kill()
        server.start()
        assert got(disk, 19 << 20, 1024) == bytes(512) + b"b" * 512


def test_a_server_that_stays_away_is_not_waited_for_for_ever(path, image, capfd, monkeypatch):
    with qemu_nbd(path, image) as server, begun(path, timeout="300ms") as disk:
        assert disk.patience > 0.3
        put(disk, 0, b"a" * 512)
        server.kill()
        with pytest.raises(MediumError, match=r"nobody listens there: start it, .*qemu-nbd"):
            put(disk, 0, b"b" * 512)
        with monkeypatch.context() as patched:
            patched.setattr("time.sleep", None)  # it does not wait once more
            with pytest.raises(MediumError):
                got(disk, 0, 512)
        told = capfd.readouterr().err
        assert told.count("\n") == 1
        assert "; requests wait for it for up to 0.3 s" in told
        server.start()
        assert got(disk, 0, 512) == b"a" * 512


def test_a_server_that_is_stuck_is_given_up_after_the_timeout(path, image):
    with qemu_nbd(path, image) as server, begun(path, timeout="300ms") as disk:
        server.stop()
        with pytest.raises(MediumError, match="it does not answer"):
            got(disk, 0, 512)
        server.go_on()
        put(disk, 0, b"a" * 512)
        assert got(disk, 0, 512) == b"a" * 512


def test_a_slow_server_is_not_a_stuck_one(path):
    delays = ("rdelay=300ms", "wdelay=300ms")
    with nbdkit(path, "--filter=delay", "memory", "1M", *delays), begun(path) as disk:
        put(disk, 0, b"a" * 512)
        assert got(disk, 0, 512) == b"a" * 512


def test_a_server_that_comes_back_smaller_is_another_disk(path, image):
    with qemu_nbd(path, image) as server, begun(path) as disk:
        put(disk, 0, b"a" * 512)
        server.kill()
        os.truncate(image, SIZE - 512)
        server.start()
        with pytest.raises(MediumError, match=f"with {SIZE - 512} bytes instead of {SIZE}"):
            got(disk, 0, 512)
        server.kill()
        os.truncate(image, SIZE + 512)
        server.start()
        assert got(disk, 0, 512) == b"a" * 512
        assert disk.size == SIZE


def test_standing_by_it_holds_nothing_and_begins_with_what_is_there_then(path, image):
    with qemu_nbd(path, image) as server:
        standby = opened(path)
        opened(path).close()
        server.kill()
        os.truncate(image, 2 * SIZE)
        server.start()
        standby.begin()
        assert standby.size == 2 * SIZE
        standby.close()
        server.kill()
        with pytest.raises(DriverError, match="nobody listens there"):
            opened(path)


def test_one_client_at_a_time_is_not_enough(path, image, monkeypatch):
    monkeypatch.setattr("drivers.block_nbd.OPENING", 0.5)
    with qemu_nbd(path, image, "--shared=1") as server:
        with begun(path) as disk:
            assert got(disk, 0, 512) == bytes(512)
            with pytest.raises(DriverError, match=r"one client at a time \(qemu-nbd needs --shar"):
                opened(path)
        server.kill()


CHILD = """
import sys
from pathlib import Path
from drivers.interface import Keep
from drivers.registry import make
disk = make("block", f"nbd:socket={sys.argv[1]}", Keep(Path("k")))
disk.begin()
print("begun", flush=True)
number = 0
while True:
    number += 1
    disk.write(number % 8 * 4096, memoryview(number.to_bytes(8, "little") * 512))
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 40, 200])
def test_what_was_written_survives_sigkill(path, image, after):
    with qemu_nbd(path, image):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE, text=True
        ) as child:
            for line in child.stdout:
                if line == f"{after}\n":
                    child.send_signal(signal.SIGKILL)
                    break
            done = int((child.stdout.read().split() or [after])[-1])
        with begun(path) as disk:
            for number in range(max(1, done - 6), done + 1):  # the last but one round may go on
                found = got(disk, number % 8 * 4096, 4096)
                assert found == number.to_bytes(8, "little") * 512


def test_a_host_that_is_none_is_said_with_the_cure(tmp_path):
    where = (
        r"NBD server nowhere.invalid:10809: there is no host of that name .*: correct it, or give"
    )
    with pytest.raises(DriverError, match=where):
        make("block", "nbd:host=nowhere.invalid", Keep(tmp_path / "k"))


def test_nobody_there_is_said_with_the_cure(path):
    with pytest.raises(DriverError) as error:
        opened(path)
    assert str(error.value) == (
        f"NBD server unix:{path}: nobody listens there: start it, for example with "
        f"'qemu-nbd --persistent --shared=0 --socket={path} IMAGE'"
    )


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("nbd", "give either socket=/run/x.sock or host=127.0.0.1"),
        ("nbd:socket=/x,host=y", "give either socket=/run/x.sock or host=127.0.0.1"),
        ("nbd:host=y,port=0", "port 0 is not from 1 to 65535"),
        ("nbd:host=y,timeout=0s", "timeout must be more than 0s, for example 30s"),
        (f"nbd:socket=/{'x' * 107}", "is longer than 107 bytes: move it up"),
        (f"nbd:host=y,export={'x' * 4097}", "export has more than 4096 bytes"),
    ],
)
def test_options_that_make_no_sense(spec, why):
    with pytest.raises(SpecError, match=why):
        check("block", spec)


def test_its_content_is_the_export():
    assert content("block", "nbd:socket=/run/x.sock,export=a") == "nbd unix:/run/x.sock a"


class _Work:
    """Writes and reads at random on a thread of its own, judged against what it should find."""

    def __init__(self, disk):
        self.error = None
        self.expected = bytearray(SIZE)
        self._disk = disk
        self._done = 0
        self._ending = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def wait_for(self, count):
        """Until so many more are done."""
        with self._changed:
            wanted = self._done + count
            assert self._changed.wait_for(lambda: self._done >= wanted or self.error, 60)

    def end(self):
        self._ending = True
        self._thread.join()

    def _work(self):
        order = random.Random(3)
        try:
            while not self._ending:
                at, size = order.randrange(SIZE // 512 - 64) * 512, order.randrange(1, 64) * 512
                if order.random() < 0.7:
                    self.expected[at : at + size] = data = order.randbytes(size)
                    put(self._disk, at, data)
                else:
                    assert got(self._disk, at, size) == self.expected[at : at + size]
                with self._changed:
                    self._done += 1
                    self._changed.notify()
        except BaseException as error:
            with self._changed:
                self.error = error
                self._changed.notify()


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _until(condition):
    with contextlib.suppress(StopIteration):
        deadline = threading.Event()
        for _ in range(3000):
            if condition():
                return
            deadline.wait(0.01)
    raise AssertionError("it never came")
