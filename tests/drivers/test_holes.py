import os

import pytest

from drivers import holes


@pytest.mark.parametrize("way", [holes.punch, holes.zero])
def test_there_are_zeros_and_the_size_is_as_before(tmp_path, way):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 16384)
    with path.open("r+b") as file:
        if not way(file.fileno(), 4096, 16384):
            pytest.skip("the file system of the tests cannot do this")
    assert path.read_bytes() == b"x" * 4096 + bytes(12288)


@pytest.mark.parametrize("way", [holes.punch, holes.zero])
def test_what_cannot_be_done_is_told_from_what_failed(tmp_path, way):
    read_end, write_end = os.pipe()
    with open(read_end, "rb"), open(write_end, "wb") as pipe, pytest.raises(OSError, match="seek"):
        way(pipe.fileno(), 0, 4096)
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    with path.open("rb") as file, pytest.raises(OSError, match="descriptor"):
        way(file.fileno(), 0, 4096)
    with path.open("r+b") as file:
        assert not way(file.fileno(), 0, 0)  # EINVAL, as for half a sector of a device
