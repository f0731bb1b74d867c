import pytest

from splitvisor.errors import UserError
from splitvisor.image.cmdline import LIMIT, command_line


def test_arguments_come_first_and_devices_follow():
    line = command_line("web", "depth=8 quiet", [(0xD0000000, 5), (0xD0001000, 6)])
    assert line == (
        b"depth=8 quiet virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6"
    )


def test_without_arguments_or_devices():
    assert command_line("web", "", [(0xD0000000, 5)]) == b"virtio_mmio.device=4K@0xd0000000:5"
    assert command_line("web", "", []) == b""


@pytest.mark.parametrize("arguments", ["a\nb", "a\0b", "caf\u00e9", "a\tb"])
def test_what_a_command_line_cannot_carry(arguments):
    with pytest.raises(UserError, match="guest web: arguments may only hold printable ASCII"):
        command_line("web", arguments, [])


def test_the_longest_arguments_are_named():
    room = LIMIT - len(" virtio_mmio.device=4K@0xd0000000:5")
    places = [(0xD0000000, 5)]
    assert len(command_line("web", "x" * room, places)) == LIMIT
    with pytest.raises(UserError, match=f"{room + 1} bytes of arguments .*shorten them to {room}"):
        command_line("web", "x" * (room + 1), places)
