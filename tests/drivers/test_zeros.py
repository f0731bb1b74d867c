import pytest

from drivers.zeros import write_zeros


@pytest.mark.parametrize("length", [0, 512, 1 << 20, (5 << 20) + 512])
def test_zeros_are_written_to_all_of_a_range_and_nowhere_else(length):
    disk = bytearray(b"x" * (8 << 20))

    def write(offset, data):
        disk[offset : offset + len(data)] = data

    write_zeros(write, 1024, length)
    assert disk == b"x" * 1024 + bytes(length) + b"x" * (len(disk) - 1024 - length)
