import time

import pytest

from drivers.interface import PATIENCE, Keep, SpecError
from drivers.registry import check, make


def test_bytes_come_no_faster_than_the_limit(tmp_path):
    source = make("entropy", "limit:bps=1000,burst=10ms,child=(system)", Keep(tmp_path / "k"))
    assert source.portion == 10
    assert source.patience == pytest.approx(PATIENCE + 0.02)
    began, got = time.monotonic(), b""
    for _ in range(21):
        into = bytearray(source.portion)
        source.fill(memoryview(into))
        got += into
    assert time.monotonic() - began >= 0.19
    assert any(got[-10:])  # ten zeros are not seen in a lifetime
    source.close()


def test_it_gives_what_its_child_gives_and_begins_it(tmp_path):
    limited = make("entropy", "limit:bps=1M,child=(seeded:seed=7)", Keep(tmp_path / "limited"))
    plain = make("entropy", "seeded:seed=7", Keep(tmp_path / "plain"))
    buffers = []
    for source in (limited, plain):
        source.begin()
        for _ in range(2):
            buffers.append(bytearray(40))
            source.fill(memoryview(buffers[-1]))
        source.close()
    assert buffers[:2] == buffers[2:]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("bps=0,child=(system)", "no bytes a second are none at all: give bps=4K"),
        ("bps=4K,burst=0s,child=(system)", "a burst of no time lets nothing through"),
        ("bps=4K", "needs the option 'child'"),
        ("bps=4K,child=(file:path=x)", "no entropy driver 'file'"),
    ],
)
def test_what_makes_no_sense_is_refused(options, problem):
    with pytest.raises(SpecError, match=problem):
        check("entropy", f"limit:{options}")
