import pytest

from drivers.disk_faults import Chances, Fault, Request, parse
from drivers.interface import DriverError


def test_a_script():
    text = """
    # what is to happen
    write 100 error
    read 5 delay 20ms  # slow
    read 5 error
    write 7 torn 512
    """
    assert parse(text, "it") == {
        Request("write", 100): Fault(error=True),
        Request("read", 5): Fault(delay=0.02, error=True),
        Request("write", 7): Fault(torn=512),
    }
    assert parse("", "it") == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("write", "'write' is no fault: write it like 'read 5 error'"),
        ("wirte 1 error", "there is no request 'wirte', did you mean 'write'?"),
        ("write 0 error", "'0' is not the number of a request: count from 1"),
        ("write x error", "'x' is not the number of a request"),
        ("write 1 eror", "there is no fault 'eror', did you mean 'error'?"),
        ("write 1 error 5", "'error' has 1 values: write it like 'read 5 error'"),
        ("write 1 delay", "'delay' has 0 values: write it like 'read 5 delay 20ms'"),
        ("write 1 delay 5", "'5' is not a time: write it like 'read 5 delay 20ms'"),
        ("write 1 delay 9999999s", "'9999999s' is too long: the longest time is 1000000s"),
        ("write 1 torn 100", "'100' is not a multiple of 512: write it like 'write 7 torn 512'"),
        ("read 1 torn 512", "a read cannot be torn: only writes are"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(line, words):
    with pytest.raises(DriverError) as refusal:
        parse(f"read 1 error\n\n{line}\n", "script a.txt")
    assert str(refusal.value).startswith("script a.txt, line 3: ")
    assert words in str(refusal.value)


def faults(chances, kind="write", count=4000):
    return [chances.fault(Request(kind, number), 4096) for number in range(1, count + 1)]


def test_what_happens_is_in_the_seed():
    chances = Chances(7, 0.01, 0.01, 0.005)
    assert faults(chances) == faults(Chances(7, 0.01, 0.01, 0.005))
    assert faults(chances) != faults(Chances(8, 0.01, 0.01, 0.005))
    # So that nobody's tests change with ours; the numbers themselves mean nothing.
    failing = [n for n, fault in enumerate(faults(chances), 1) if fault.error]
    assert failing[:3] == [67, 305, 436]


def test_chances_are_what_they_say():
    found = faults(Chances(7, 0.1, 0.2, 0.005))
    assert 300 < sum(fault.error for fault in found) < 500
    torn = [fault.torn for fault in found if fault.torn is not None]
    assert 700 < len(torn) < 900
    assert set(torn) == set(range(0, 4096, 512))
    assert 0 < min(fault.delay for fault in found) < max(fault.delay for fault in found) < 0.005
    assert not any(fault.torn is not None for fault in faults(Chances(7, 0.1, 0.2, 0), "read"))
    assert set(faults(Chances(7, 0, 0, 0))) == {Fault()}
