import math
from types import SimpleNamespace

import pytest

from service_os.models.attributes import Nonsense, is_patience, missing, nanoseconds, wrong


class Bare:
    def read(self, offset, into):
        pass

    def flush(self):
        pass

    def close(self):
        pass


def test_a_method_that_is_missing_is_named():
    disk = Bare()
    assert missing(disk, "block") == "the driver Bare has no method write: add it"
    disk.readonly = True
    assert missing(disk, "block") == ""
    disk.flush = 5
    assert missing(disk, "block") == "the driver Bare has no method flush: add it"


def test_a_value_that_is_long_is_cut_off():
    text = wrong(SimpleNamespace(size="x" * 1000), "size", lambda size: False, "be a number")
    assert text == f"the driver's size is '{'x' * 59}: it must be a number"


@pytest.mark.parametrize("value", [None, 0, 0.1, 5, 1e300, math.inf])
def test_patience_is_a_number_of_seconds_or_none(value):
    assert is_patience(value)


@pytest.mark.parametrize("value", ["x", -1, math.nan, (1,)])
def test_what_is_no_patience(value):
    assert not is_patience(value)


@pytest.mark.parametrize(
    ("now", "since"), [(0, 0), (1.5, 1_500_000_000), (-0.5, -500_000_000), (True, 1_000_000_000)]
)
def test_a_time_is_in_nanoseconds(now, since):
    assert nanoseconds(SimpleNamespace(now=lambda: now)) == since


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf, None, "x", (1,)])
def test_what_is_no_time_is_said_in_one_line(now):
    with pytest.raises(Nonsense) as raised:
        nanoseconds(SimpleNamespace(now=lambda: now))
    assert str(raised.value) == f"now() gives {now!r}: it must be a number of seconds"
