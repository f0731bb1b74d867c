import pytest

from drivers.interface import Keep, SpecError
from drivers.registry import check, make


@pytest.mark.parametrize(
    ("at", "now"),
    [
        ("2030-01-01T00:00:00", 1893456000),
        ("2030-01-01T00:00:00+01:00", 1893452400),
        ("2030-01-01T00:00:00Z", 1893456000),
        ("1970-01-01", 0),
        ("1969-12-31T23:59:58.9", -2),
    ],
)
def test_it_is_always_the_same_time(tmp_path, at, now):
    clock = make("clock", f"frozen:at={at}", Keep(tmp_path / "k"))
    assert [clock.now(), clock.now()] == [now, now]
    clock.close()


def test_what_is_no_time_is_refused_in_one_line():
    with pytest.raises(SpecError, match=r"'tomorrow' is no time such as 2030-01-01T00:00:00$"):
        check("clock", "frozen:at=tomorrow")
