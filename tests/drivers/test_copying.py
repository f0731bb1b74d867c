"""Two disks kept alike by two threads, in the orders in which that could go wrong."""

import threading

import pytest

from drivers.copying import CHUNK, PIECE, Pair
from drivers.interface import MediumError

SIZE = 2 * PIECE + 512


class Disk:
    """Bytes; `stop` has the next write or flush wait until `go`."""

    def __init__(self, fill):
        self.size = SIZE
        self.data = bytearray(fill * SIZE)
        self.flushes = 0
        self.problem = ""
        self.go = threading.Event()
        self.go.set()
        self.stopped = threading.Event()

    def stop(self):
        self.go.clear()
        self.stopped.clear()

    def read(self, offset, into):
        into[:] = self.data[offset : offset + len(into)]

    def write(self, offset, data):
        self._may()
        self.data[offset : offset + len(data)] = data

    def flush(self):
        self._may()
        self.flushes += 1

    def _may(self):
        self.stopped.set()
        self.go.wait()
        if self.problem:
            raise MediumError(self.problem)


@pytest.fixture
def pair():
    return Pair(Disk(b"s"), Disk(b"t"))


def write(pair, offset, data):
    pair.source.write(offset, data)
    return pair.follow(
        offset, len(data), lambda at, size: pair.target.write(at, memoryview(data)[:size])
    )


def copy(pair):
    while pair.reach < SIZE:
        pair.advance(PIECE)


def beside(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


def test_a_write_goes_to_the_target_as_far_as_that_is_copied(pair):
    pair.advance(PIECE)
    assert write(pair, PIECE - 512, b"w" * 1024)
    assert pair.target.data[PIECE - 1024 : PIECE + 512] == b"s" * 512 + b"w" * 512 + b"t" * 512
    copy(pair)
    assert pair.target.data == pair.source.data
    assert pair.missed == 0


@pytest.mark.parametrize("offset", [0, PIECE - 512, PIECE, 2 * PIECE - 512])
def test_a_write_while_a_piece_is_under_way_is_copied_again(pair, offset):
    pair.advance(PIECE)
    pair.target.stop()
    copying = beside(pair.advance, PIECE)
    assert pair.target.stopped.wait(60)
    assert write(pair, offset, b"w" * 1024)  # it does not wait
    pair.target.go.set()
    copying.join()
    copy(pair)
    assert pair.missed > 0
    assert pair.settle()
    assert pair.missed == 0
    assert pair.target.data == pair.source.data


def test_a_write_far_beyond_is_not_noted(pair):
    pair.target.stop()
    copying = beside(pair.advance, CHUNK)
    assert pair.target.stopped.wait(60)
    assert write(pair, PIECE + CHUNK, b"w" * 512)
    assert pair.missed == 0
    pair.target.go.set()
    copying.join()
    copy(pair)
    assert pair.target.data == pair.source.data


def test_a_write_while_the_target_is_flushed_waits_only_when_all_is_settled(pair):
    copy(pair)
    pair.target.stop()
    flushing = beside(pair.flush)
    assert pair.target.stopped.wait(60)
    assert write(pair, 0, b"a" * 512)
    assert pair.missed == 1
    pair.target.go.set()
    flushing.join()
    assert pair.settle()
    assert pair.target.data == pair.source.data
    pair.target.stop()
    flushing = beside(pair.flush)
    assert pair.target.stopped.wait(60)
    writing = beside(write, pair, 0, b"b" * 512)
    writing.join(0.05)
    assert writing.is_alive()
    assert pair.target.data[:512] == b"a" * 512
    pair.target.go.set()
    for thread in (flushing, writing):
        thread.join()
    assert pair.missed == 0
    assert pair.target.data == pair.source.data


def test_what_was_missed_is_caught_up_with_piece_by_piece(pair):
    copy(pair)
    with pair.target_lock:
        for chunk in range(8):
            assert write(pair, chunk * CHUNK, b"w" * 512)
    assert pair.missed == 8
    pair.catch_up(2 * CHUNK)
    assert pair.missed == 6
    pair.catch_up(PIECE)
    assert pair.missed == 0
    assert pair.target.data == pair.source.data


def test_after_an_error_of_the_target_the_source_goes_on_alone(pair):
    copy(pair)
    pair.target.problem = "no\nspace\x1b"
    assert not write(pair, 0, b"a" * 512)
    assert pair.problem == r"target: no space\x1b"
    assert write(pair, 512, b"b" * 512)
    assert pair.source.data[:1024] == b"a" * 512 + b"b" * 512
    assert pair.target.data[:1024] == b"s" * 1024
    assert not pair.flush()
    assert not pair.settle()
