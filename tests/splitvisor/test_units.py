import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.errors import UserError
from splitvisor.units import format_size, parse_size


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
