"""The guest's command line: its own arguments, then one word for each virtio device.

`virtio_mmio.device=<size>@<base>:<irq>` is the form that Linux parses and that other monitors
write, so guests made for those find their devices here as well.
"""

from collections.abc import Sequence

from splitvisor.errors import UserError

# Linux on x86 keeps 2048 bytes with the final NUL and drops the rest in silence, and at the end
# stand the devices.
LIMIT = 2047


def device_word(base: int, irq: int) -> str:
    """What announces a virtio device with a 4 KiB register page at `base`."""
    return f"virtio_mmio.device=4K@{base:#x}:{irq}"


def command_line(guest: str, arguments: str, virtio: Sequence[tuple[int, int]]) -> bytes:
    """Arguments and devices (base, irq) as bytes without the final NUL.

    UserError if it is too long or has characters that a command line cannot carry.
    """
    if not arguments.isascii() or not (arguments.isprintable() or not arguments):
        raise UserError(f"guest {guest}: arguments may only hold printable ASCII characters")
    words = [arguments] if arguments else []
    words += [device_word(base, irq) for base, irq in virtio]
    line = " ".join(words).encode("ascii")
    if len(line) > LIMIT:
        room = LIMIT - (len(line) - len(arguments))
        raise UserError(
            f"guest {guest}: {len(arguments)} bytes of arguments do not fit the command line: "
            f"shorten them to {max(room, 0)}"
        )
    return line
