import pytest

from splitvisor.demo.scene import make_image, set_up
from splitvisor.errors import UserError
from splitvisor.machine import CpuChoice

SIZE = 1 << 20


@pytest.fixture
def guests(tmp_path):
    folder = tmp_path / "guests"
    folder.mkdir()
    for name in ("blockcheck", "echo", "hello"):
        (folder / name).touch()
    return folder


def test_the_image_is_made_and_the_requests_are_known(tmp_path, guests):
    image = tmp_path / "disk, with comma.img"
    scene = set_up(guests, image, SIZE, 3, CpuChoice.EMULATED, tmp_path)
    assert image.stat().st_size == SIZE
    assert scene.blocks == 256
    assert scene.requests == 2 * 256 + 2 * 3 * 256 + 3
    blockcheck = scene.machine.guests[0]
    assert blockcheck.cpu is CpuChoice.EMULATED
    assert "passes=3" in blockcheck.arguments


def test_a_missing_guest_is_named_with_the_cure(tmp_path, guests):
    (guests / "echo").unlink()
    with pytest.raises(UserError, match=r"echo does not exist: build it with 'make guests'"):
        set_up(guests, tmp_path / "disk.img", SIZE, 1, CpuChoice.AUTO, tmp_path)
    assert not (tmp_path / "disk.img").exists()


@pytest.mark.parametrize("size", [0, 4096, SIZE + 512])
def test_a_size_that_cannot_be_is_refused(tmp_path, guests, size):
    with pytest.raises(UserError, match="multiple of 4K"):
        set_up(guests, tmp_path / "disk.img", size, 1, CpuChoice.AUTO, tmp_path)


def test_only_images_of_the_demo_are_overwritten(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(b"somebody's data")
    with pytest.raises(UserError, match="would overwrite it"):
        make_image(path, SIZE)
    assert path.read_bytes() == b"somebody's data"
    path.write_bytes(b"SVBLOCK1 and so on")
    make_image(path, SIZE)
    assert path.read_bytes() == bytes(SIZE)


def test_a_place_where_no_image_can_be_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match="cannot be made"):
        make_image(tmp_path / "missing" / "disk.img", SIZE)
    with pytest.raises(UserError, match="cannot be made"):
        make_image(tmp_path, SIZE)
