"""The judges refuse wrong histories, and let right ones pass."""

import pytest

from tests.simulation import Violation
from tests.simulation.consoleguest import ConsoleGuest, Transmission, word
from tests.simulation.disk import SECTOR, Disk
from tests.simulation.ledger import Ledger, stamp


@pytest.fixture
def ledger():
    """Sector 1 of three was written twice, and once more by a write that is out."""
    ledger = Ledger(3)
    for _ in range(2):
        number, _ = ledger.submit(1, 1)
        ledger.wrote(1, 1, number)
    ledger.submit(1, 1)
    return ledger


def read(ledger, number, floor):
    ledger.read(1, memoryview(stamp(1, number)), [floor], "a read")


@pytest.mark.parametrize("number", [2, 3])
def test_a_read_sees_what_was_certain_or_is_out(ledger, number):
    read(ledger, number, ledger.certain[1])
    assert ledger.certain[1] == number


@pytest.mark.parametrize("number", [0, 1])
def test_a_read_of_something_older_is_stale(ledger, number):
    with pytest.raises(Violation, match="stale"):
        read(ledger, number, ledger.certain[1])


def test_a_read_may_see_what_was_there_when_it_was_submitted(ledger):
    read(ledger, 1, 1)
    assert ledger.certain[1] == 2


@pytest.mark.parametrize("data", [stamp(1, 4), stamp(2, 2), stamp(1, 2)[:-1] + b"x"])
def test_what_nobody_wrote_there_is_refused(ledger, data):
    with pytest.raises(Violation, match="nobody wrote"):
        ledger.read(1, memoryview(data), [0], "a read")


def test_what_was_seen_is_certain_until_its_write_is_given_up(ledger):
    read(ledger, 3, 2)
    with pytest.raises(Violation, match="stale"):
        read(ledger, 2, ledger.certain[1])
    ledger.gave_up(1, 1, 3)
    read(ledger, 2, ledger.certain[1])


def cut(disk, keep):
    """A power cut that keeps all unflushed sectors, or none."""
    return disk.cut_power(lambda n: int(n == 2 and keep))


@pytest.mark.parametrize("keep", [False, True])
def test_what_was_flushed_survives_a_power_cut(keep):
    ledger, disk = Ledger(2), Disk(2)
    for sector in (0, 1):
        number, data = ledger.submit(sector, 1)
        disk.write(sector * SECTOR, memoryview(data))
        ledger.wrote(sector, 1, number)
        if sector == 0:
            disk.flush()
            ledger.flushed(ledger.completed.copy())
    left = cut(disk, keep)
    ledger.check_disk(left, ledger.durable, "the disk")
    assert (left[SECTOR:] == stamp(1, 2)) is keep


def test_a_flush_that_did_nothing_is_found():
    ledger, disk = Ledger(1), Disk(1)
    number, data = ledger.submit(0, 1)
    disk.write(0, memoryview(data))
    ledger.wrote(0, 1, number)
    ledger.flushed(ledger.completed.copy())
    with pytest.raises(Violation, match="write 0, 1 was there"):
        ledger.check_disk(cut(disk, False), ledger.durable, "the disk")


def console(*numbers, dropped=()):
    """A console to which words 0, 1 and 2 were sent, each by itself."""
    guest = ConsoleGuest(None, bytearray(b"".join(map(word, numbers))))
    guest.sent = [Transmission(n, n + 1, n in dropped) for n in range(3)]
    return guest


@pytest.mark.parametrize("numbers", [(0, 2), (0, 1, 1, 2), (0, 2, 1), (1, 2), (0, 1, 2, 2)])
def test_output_that_is_lost_doubled_or_out_of_order_is_refused(numbers):
    guest = console(*numbers)
    with pytest.raises(Violation, match="console"):
        guest.check_output(len(guest._log))


@pytest.mark.parametrize(
    ("numbers", "dropped"), [((0, 1, 2), ()), ((0, 2), (1,)), ((0, 1, 2), (1,))]
)
def test_output_may_miss_what_a_reset_took(numbers, dropped):
    guest = console(*numbers, dropped=dropped)
    guest.check_output(len(guest._log))
