import pytest

from splitvisor.image import aml


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (2, "0a02"), (255, "0aff"), (256, "0b0001"), (65536, "0c00000100")],
)
def test_integers_take_their_shortest_form(value, encoded):
    assert aml.integer(value).hex() == encoded


def test_identifiers_are_compressed():
    # PNP is 10000 01110 10000 in bits; the specification's own example of PNP0A03 is 0x030ad041.
    assert aml.eisa_id("PNP0A03").hex() == "0c41d00a03"


@pytest.mark.parametrize(
    ("size", "length"),
    [(0, "05"), (58, "3f"), (59, "4104"), (4089, "4fff"), (4090, "810001"), (1 << 20, "c8000001")],
)
def test_lengths_count_themselves(size, length):
    # Scope: opcode, length, the name's four bytes, then the terms.
    assert aml.scope("ABCD", bytes(size)) == b"\x10" + bytes.fromhex(length) + b"ABCD" + bytes(size)


def test_names_are_four_letters():
    assert aml.name("_S5", aml.integer(0)) == b"\x08_S5_\x00"
