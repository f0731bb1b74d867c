from pathlib import Path

import pytest

from drivers.interface import Keep, SpecError
from drivers.registry import check, make

KEEP = Keep(Path("/nonexistent"))
FRAME = b"\xff" * 6 + b"\x52" + bytes(5) + b"\x08\x00hello"


def port(spec, begin=True):
    """An open port and what it gets."""
    driver, heard = make("net", spec, KEEP), []
    if begin:
        driver.begin()
        driver.start(heard.extend, lambda: None)
    return driver, heard


def test_ports_of_one_name_hear_each_other_from_begin_to_close():
    a, at_a = port("switch:name=one")
    b, at_b = port("switch:name=one")
    c, at_c = port("switch:name=two")
    late, at_late = port("switch:name=one", begin=False)
    a.send([memoryview(FRAME)])
    assert (at_a, at_b, at_c, at_late) == ([], [FRAME], [], [])
    late.close()  # it never stood on the switch
    b.close()
    a.send([memoryview(FRAME)])
    assert at_b == [FRAME]
    for driver in (a, c):
        driver.close()


def test_frames_are_copied():
    a, _ = port("switch:name=one")
    b, heard = port("switch:name=one")
    lent = bytearray(FRAME)
    a.send([memoryview(lent)])
    lent[:] = bytes(len(lent))
    assert heard == [FRAME]
    a.close()
    b.close()


@pytest.mark.parametrize("vlan", ["0", "4095", "-1"])
def test_a_vlan_that_cannot_be_is_refused(vlan):
    with pytest.raises(SpecError, match=r"vlan .*give 1 to 4094"):
        check("net", f"switch:name=lan,vlan={vlan}")


def test_a_switch_needs_a_name():
    with pytest.raises(SpecError, match="needs the option 'name'"):
        check("net", "switch")
