"""Sizes as people write them: 64M, 1G, 512K.

Binary units only (K is 1024), because memory comes in pages; a plain number is bytes.
"""

import re

from splitvisor.errors import UserError

_SUFFIXES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DIGITS = 15  # more than the bytes of any memory or disk have
_SIZE = re.compile(r"([0-9]+)([KMGT]?)", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes in `text`; UserError unless it is digits with K, M, G or T behind them, or none."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text!r} is not a size: write it like 64M, 1G or 512K")
    if len(match[1]) > _DIGITS:
        raise UserError(f"{text!r} is too large for a size: write it like 64M, 1G or 512K")
    return int(match[1]) * _SUFFIXES[match[2].upper()]


def format_size(size: int) -> str:
    """The shortest exact text for `size` bytes; parse_size gives the same number back."""
    if size == 0:
        return "0"
    for suffix, unit in reversed(_SUFFIXES.items()):
        if size % unit == 0:
            return f"{size // unit}{suffix}"
    raise AssertionError("every size is a multiple of one byte")
