import pytest

from drivers.filter import Filter, close_all, open_all
from drivers.interface import Ability, Child, Claim, DriverError


class Disk:
    """Remembers what it was asked."""

    size, readonly, identity = 1024, False, "below"
    abilities, block_size, patience = Ability.DISCARD, 4096, None

    def __init__(self, fails=False):
        self.asked = []
        self._fails = fails

    def __getattr__(self, name):
        return lambda *arguments: self.asked.append((name, *arguments))

    def close(self):
        self.asked.append("close")
        if self._fails:
            raise OSError


class Options:
    def __init__(self, disk):
        self.child = Child("disk", lambda: disk, lambda: [Claim("x", True)], lambda: "what")


def test_everything_goes_through():
    disk = Disk()
    filter_ = Filter(Options(disk))
    assert (filter_.size, filter_.readonly, filter_.identity) == (1024, False, "below")
    assert (filter_.abilities, filter_.block_size, filter_.patience) == (
        Ability.DISCARD,
        4096,
        None,
    )
    disk.size = 2048
    filter_.begin()
    filter_.read(0, b"a")
    filter_.write(1, b"b")
    filter_.flush()
    filter_.discard(2, 3)
    filter_.write_zeroes(4, 5, True)
    filter_.close()
    calls = [("read", 0, b"a"), ("write", 1, b"b"), ("flush",), ("discard", 2, 3)]
    assert disk.asked == [("begin",), *calls, ("write_zeroes", 4, 5, True), "close"]
    assert filter_.size == 2048
    assert Filter.content(Options(disk)) == "what"
    assert Filter.claims(Options(disk)) == [Claim("x", True)]


def test_all_children_are_open_or_none():
    def refuse():
        raise DriverError("no such disk")

    first, second = Disk(), Disk()
    fine = [Options(disk).child for disk in (first, second)]
    assert open_all(fine) == [first, second]
    with pytest.raises(DriverError, match="no such disk"):
        open_all([*fine, Child("wrong", refuse, list, str)])
    assert (first.asked, second.asked) == (["close"], ["close"])


def test_one_that_fails_to_close_does_not_keep_the_others_open():
    disks = [Disk(), Disk(fails=True), Disk()]
    with pytest.raises(OSError):  # noqa: PT011  # it has no text
        close_all(disks)
    assert [disk.asked for disk in disks] == [["close"]] * 3
