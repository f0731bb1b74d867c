"""Cuts of a model of a disk with a write-back cache, which keeps or breaks its promise."""

import struct
import zlib

import pytest

from splitvisor.checks.powercut import HEADER, LogError, Record, cut, judge, read_log
from splitvisor.checks.stamps import BLOCK, make_block
from splitvisor.checks.workload import Kind, Workload
from tests.splitvisor.checks.conftest import SEED

SEEDS = range(20)


def record(number, offset, data):
    return (
        struct.pack("<8sQQIIQ", b"SVPCLOG1", number, offset, len(data), zlib.crc32(data), 0) + data
    )


class Cache:
    """The format of block.powercut, by the book; `honest` flushes are carried out."""

    def __init__(self, folder, workload):
        self.image, self.log = folder / "base.img", folder / "base.img.log"
        self.image.write_bytes(bytes(workload.blocks * BLOCK))
        self.log.write_bytes(b"")
        self.workload = workload
        self.flushed = 0

    def run(self, begin, end, honest=True):
        for number in range(begin, end):
            operation = self.workload.operation(number)
            if operation.kind is Kind.WRITE:
                data = b"".join(
                    make_block(block, number, SEED)
                    for block in range(operation.first, operation.first + operation.count)
                )
                with self.log.open("ab") as log:
                    log.write(record(len(read_log(self.log)), operation.first * BLOCK, data))
            elif operation.kind is Kind.FLUSH:
                self.flushed = number
                if honest:
                    self.flush()

    def flush(self):
        image = bytearray(self.image.read_bytes())
        for kept in read_log(self.log):
            image[kept.offset : kept.offset + len(kept.data)] = kept.data
        self.image.write_bytes(image)
        self.log.write_bytes(b"")


@pytest.fixture
def cache(tmp_path, workload):
    return Cache(tmp_path, workload)


def verdicts(cache, submitted, tmp_path, flushed=None):
    """Of the cuts of all SEEDS."""
    for seed in SEEDS:
        cut(cache.image, cache.log, seed, tmp_path / "cut.img")
        yield judge(
            tmp_path / "cut.img",
            cache.workload,
            cache.flushed if flushed is None else flushed,
            submitted,
        )


@pytest.mark.parametrize("submitted", [15, 40, 63])
def test_what_was_flushed_survives_every_cut(cache, tmp_path, submitted):
    cache.run(0, submitted)
    assert read_log(cache.log)
    for verdict in verdicts(cache, submitted, tmp_path):
        assert verdict.agrees, verdict.problems


def test_cuts_differ_by_their_seed_alone(cache, tmp_path):
    cache.run(0, 47)
    images = set()
    for seed in SEEDS:
        for name in ("a", "b"):
            cut(cache.image, cache.log, seed, tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        images.add((tmp_path / "a").read_bytes())
    assert len(images) > 15


def test_a_flush_that_is_acknowledged_early_is_noticed(cache, tmp_path):
    """By most cuts, and by none before there is anything to lose."""
    cache.run(0, 32)
    cache.run(32, 48, honest=False)
    wrong = [verdict for verdict in verdicts(cache, 48, tmp_path) if not verdict.agrees]
    assert len(wrong) > len(SEEDS) / 2
    assert all(v.agrees for v in verdicts(cache, 48, tmp_path, flushed=31))


def test_each_write_that_is_left_out_of_a_flush_is_noticed(tmp_path, workload):
    done = 47  # the 48th operation flushes
    for number in sorted(set(workload.last_writes(done))):
        if number < 32:
            continue  # overwritten, or flushed before
        cache = Cache(tmp_path, workload)
        cache.run(0, number)
        kept = read_log(cache.log)
        cache.run(number, number + 1)
        cache.log.write_bytes(b"".join(record(i, r.offset, r.data) for i, r in enumerate(kept)))
        cache.run(number + 1, done + 1)
        assert any(not v.agrees for v in verdicts(cache, done + 1, tmp_path)), number


def test_a_block_may_be_torn_only_by_a_write_that_was_not_flushed(cache, tmp_path):
    cache.run(0, 16)
    workload = cache.workload
    later = next(n for n in range(16, 64) if workload.operation(n).kind is Kind.WRITE)
    block = workload.operation(later).first
    before = cache.image.read_bytes()[block * BLOCK : (block + 1) * BLOCK]
    after = make_block(block, later, SEED)

    def put(data):
        image = bytearray(cache.image.read_bytes())
        image[block * BLOCK : (block + 1) * BLOCK] = data
        cache.image.write_bytes(image)

    put(before[:1024] + after[1024:])
    assert judge(cache.image, workload, 16, later + 1).agrees
    assert not judge(cache.image, workload, 16, later).agrees
    assert not judge(cache.image, workload, later + 1, later + 1).agrees
    put(before[:1024] + bytes(512) + after[1536:])
    assert (not judge(cache.image, workload, 16, later + 1).agrees) == (before != bytes(BLOCK))
    put(before[:1000] + after[1000:])
    assert not judge(cache.image, workload, 16, later + 1).agrees


def test_a_record_that_was_cut_short_is_left_out(tmp_path):
    log = tmp_path / "log"
    whole = record(0, 512, b"a" * 512)
    for rest in range(HEADER.size + 512):
        log.write_bytes(whole + record(1, 0, b"b" * 512)[:rest])
        assert read_log(log) == [Record(512, b"a" * 512)]


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (b"nonsense" * 10, "no record 0 at byte 0"),
        (record(1, 0, b"a" * 512), "no record 0 at byte 0"),
        (record(0, 0, b"a" * 512) * 2, "no record 1 at byte 552"),
        (record(0, 0, b"a" * 512)[:-1] + b"b", "the CRC of record 0"),
    ],
)
def test_a_log_that_is_none_is_refused(tmp_path, log, words):
    (tmp_path / "log").write_bytes(log)
    with pytest.raises(LogError, match=words):
        read_log(tmp_path / "log")


def test_workloads_without_flushes_promise_nothing(tmp_path):
    cache = Cache(tmp_path, Workload(seed=SEED, blocks=12, flush=0))
    cache.run(0, 30)
    assert all(v.agrees for v in verdicts(cache, 30, tmp_path))
