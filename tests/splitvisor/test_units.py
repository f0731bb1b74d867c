import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.errors import UserError
from splitvisor.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("64M", 64 << 20), ("1G", 1 << 30), ("512k", 512 << 10), ("2T", 2 << 40), (" 7 ", 7)],
)
def test_sizes_are_binary(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "64MB", "64 M", "\u0664M", "1" * 16])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(UserError, match="write it like 64M"):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(0, "0"), (1536, "1536"), (3 << 29, "1536M")])
def test_the_largest_exact_unit_is_shown(size, text):
    assert format_size(size) == text


@given(st.integers(0, 1 << 46))
def test_formatted_sizes_are_read_back(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("10ms", 10_000_000),
        ("2s", 2 * 10**9),
        ("500us", 500_000),
        ("7 ns", 7),
        ("1.5ms", 1500000),
        ("10m", 600 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("0.5m", 30 * 10**9),
    ],
)
def test_durations_are_nanoseconds(text, duration):
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "10", "ms", "-1s", "1.ms", "1min", "\u0664s", "1" * 16 + "s"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(UserError, match="write it like 10ms"):
        parse_duration(text)


def test_a_duration_finer_than_a_nanosecond_is_refused():
    with pytest.raises(UserError, match="finer"):
        parse_duration("0.0001us")


@pytest.mark.parametrize(("duration", "text"), [(0, "0s"), (1500000, "1500us"), (10**10, "10s")])
def test_the_largest_exact_unit_of_time_is_shown(duration, text):
    assert format_duration(duration) == text


@given(st.integers(0, 1 << 49))
def test_formatted_durations_are_read_back(duration):
    assert parse_duration(format_duration(duration)) == duration
