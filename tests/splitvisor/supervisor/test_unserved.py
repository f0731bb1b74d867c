"""The book of devices that could not be attached."""

from splitvisor.supervisor.backoff import FIRST_DELAY, LONGEST_DELAY
from splitvisor.supervisor.events import DeviceServed, DeviceUnserved
from splitvisor.supervisor.unserved import Unserved

A, B = "web/a", "web/b"
AWAY, GONE = f"{A}: no such file", f"{B}: gone: for long"
T = 10 * LONGEST_DELAY


def test_one_that_cannot_be_attached_is_told_of_once_and_its_outage_goes_on():
    book = Unserved("io")
    assert book.attached([AWAY, GONE], T, T + 5) == [
        DeviceUnserved("io", A, "no such file"),
        DeviceUnserved("io", B, "gone: for long"),
    ]
    assert book.problems() == (AWAY, GONE)
    assert book.attached([f"{A}: not yet"], T + 100, T + 105) == [DeviceServed("io", B, 105)]
    assert (book.devices[A].since, book.devices[A].reason) == (T, "not yet")


def test_the_longest_absence_is_of_one_that_is_away_or_was():
    book = Unserved("io")
    assert book.longest(T) == ("", 0)
    book.attached([GONE], T, T)
    book.attached([AWAY, GONE], T + 5, T + 5)
    book.drop(B, T + 20)
    assert book.longest(T + 21) == (B, 20)
    assert book.longest(T + 30) == (A, 25)
    book.gone("web", T + 40)
    assert book.longest(T + 100) == (A, 35)
    book.attached([GONE], T + 100, T + 100)
    book.attached([], T + 150, T + 150)
    assert book.longest(T + 200) == (B, 50)


def test_each_try_waits_twice_as_long_and_never_for_very_long():
    book, now, waits = Unserved("io"), T, []
    book.attached([AWAY], T, now)
    for _ in range(20):
        waits.append(book.deadline - now)
        assert book.due(book.deadline - 1) == ()
        now = book.deadline
        assert book.due(now) == (A,)
        assert book.answered((), [AWAY], now) == []
    assert waits[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert waits[-1] == LONGEST_DELAY


def test_while_some_are_tried_none_else_are():
    book = Unserved("io")
    book.attached([AWAY], T, T)
    book.attached([AWAY, GONE], T, T + 1)
    assert book.due(T + FIRST_DELAY + 1) == (A, B)
    assert book.deadline is None
    assert book.due(T + LONGEST_DELAY) == ()
    served = [DeviceServed("io", B, FIRST_DELAY + 2)]
    assert book.answered([B], [AWAY], T + FIRST_DELAY + 2) == served
    assert book.deadline is not None


def test_a_new_incarnation_begins_with_short_waits():
    book = Unserved("io")
    book.attached([AWAY], T, T)
    assert book.due(T + FIRST_DELAY) == (A,)
    book.attached([AWAY], T, T + LONGEST_DELAY)  # and the answer is not waited for
    assert book.deadline == T + LONGEST_DELAY + FIRST_DELAY


def test_what_was_not_tried_is_not_what_was_answered():
    book = Unserved("io")
    book.attached([AWAY], T, T)
    assert book.answered([A], (), T) == []
    assert A in book.devices


def test_what_is_no_more_is_forgotten():
    book = Unserved("io")
    book.attached([AWAY, GONE, "other/a: x"], T, T)
    book.gone("web", T)
    assert list(book.devices) == ["other/a"]
    book.due(T + LONGEST_DELAY)
    assert book.answered((), (), T + LONGEST_DELAY) == []
    assert (book.devices, book.deadline) == ({}, None)


def test_another_one_is_worse_if_it_lacks_what_is_neither_here_nor_kept_away():
    book = Unserved("io")
    book.attached([AWAY], T, T)
    assert book.worse([AWAY, GONE], [B]) == ""
    assert book.worse([AWAY, GONE], []) == GONE
