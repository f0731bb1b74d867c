from pathlib import Path

import pytest

from drivers.ethernet import NetFilter, NetOptions, parse_mac
from drivers.interface import Keep, SpecError
from drivers.registry import check, claims, make

KEEP = Keep(Path("/nonexistent"))
MAC = bytes.fromhex("525400123456")


@pytest.mark.parametrize(
    "text", ["", "52:54:00:12:34", "52-54-00-12-34-56", "525400123456", "52:54:00:12:34:5g"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="write six bytes as in 52:54:00:12:34:56"):
        parse_mac(text)


@pytest.mark.parametrize("text", ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"])
def test_nor_may_a_device_have_the_address_of_a_group_or_of_nobody(text):
    with pytest.raises(ValueError, match="no address of a single device"):
        parse_mac(text)


@pytest.mark.parametrize("driver", ["null", "switch:name=lan", "user", "tap:ifname=tap0"])
@pytest.mark.parametrize("option", ["mac=xx", "mtu=67", "mtu=65536"])
def test_every_driver_takes_address_and_mtu_and_looks_at_them(driver, option):
    separator = "," if ":" in driver else ":"
    check("net", f"{driver}{separator}mac=52:54:00:12:34:56,mtu=9000")
    with pytest.raises(SpecError, match=option.partition("=")[0]):
        check("net", f"{driver}{separator}{option}")


def test_without_an_address_there_is_none():
    assert NetOptions().address is None
    driver = make("net", "null", KEEP)
    assert (driver.mac, driver.mtu, driver.link) == (None, 1500, True)
    driver.send([memoryview(bytes(64))])
    driver.close()


def test_a_layer_says_what_the_one_below_does_unless_it_is_told(tmp_path):
    below = "(null:mac=52:54:00:12:34:56,mtu=4000,link=off)"
    capture = tmp_path / "net.pcap"
    quiet = make("net", f"pcap:path={capture},child={below}", KEEP)
    assert isinstance(quiet, NetFilter)
    assert (quiet.mac, quiet.mtu, quiet.link) == (MAC, 4000, False)
    quiet.close()
    loud = make("net", f"faulty:mac=52:54:00:00:00:01,mtu=1000,child={below}", KEEP)
    assert (loud.mac, loud.mtu) == (bytes.fromhex("525400000001"), 1000)
    loud.close()
    stack = f"faulty:child=(pcap:path={capture},child=(null))"
    assert [(claim.path, claim.exclusive) for claim in claims("net", stack)] == [(capture, True)]
