import pytest

from drivers.interface import DriverError, MediumError
from service_os.models.entropy import MAX_FILL, EntropyModel


class Sevens:
    def fill(self, into):
        into[:] = b"\7" * len(into)


class Dry:
    def fill(self, into):
        raise MediumError("no more")


def ask(driver, writable):
    area = bytearray(writable)
    written = EntropyModel(driver).execute(0, b"", memoryview(b""), memoryview(area))
    return written, area


def test_the_whole_buffer_is_filled():
    assert ask(Sevens(), 100) == (100, b"\7" * 100)


def test_one_request_gets_no_more_than_the_limit():
    written, area = ask(Sevens(), MAX_FILL + 1)
    assert written == MAX_FILL
    assert area == b"\7" * MAX_FILL + b"\0"


def test_nothing_is_given_when_the_source_fails():
    assert ask(Dry(), 8) == (0, bytes(8))


def test_a_source_may_give_less_at_once():
    source = Sevens()
    source.portion = 10
    assert ask(source, 100) == (10, b"\7" * 10 + bytes(90))


def test_a_portion_that_is_no_number_is_named():
    source = Sevens()
    source.portion = "x"
    with pytest.raises(DriverError, match=r"^the driver's portion is 'x': it must be a number of"):
        EntropyModel(source)
