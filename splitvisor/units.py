"""Sizes and durations as people write them: 64M, 1G, 512K; 500us, 10ms, 2s, 5m, 1h.

Sizes have binary units only (K is 1024), because memory comes in pages; a plain number is bytes.
Durations always have their unit, because a plain number could be any, and are whole nanoseconds.
"""

import re
from fractions import Fraction

from splitvisor.errors import UserError

_SUFFIXES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DIGITS = 15  # more than the bytes of any memory or disk have
_TOO_LARGE = 1 << 63
_SIZE = re.compile(r"([0-9]+)([KMGT]?)", re.ASCII | re.IGNORECASE)
_TIMES = {"ns": 1, "us": 1000, "ms": 1000**2, "s": 1000**3, "m": 60 * 1000**3, "h": 3600 * 1000**3}
_WRITTEN = ("s", "ms", "us", "ns")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ns|us|ms|s|m|h)", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes in `text`; UserError unless it is digits with K, M, G or T behind them, or none."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text!r} is not a size: write it like 64M, 1G or 512K")
    size = int(match[1]) * _SUFFIXES[match[2].upper()] if len(match[1]) <= _DIGITS else _TOO_LARGE
    if size >= _TOO_LARGE:
        raise UserError(f"{text!r} is too large for a size: write it like 64M, 1G or 512K")
    return size


def format_size(size: int) -> str:
    """The shortest exact text for `size` bytes; parse_size gives the same number back."""
    if size == 0:
        return "0"
    for suffix, unit in reversed(_SUFFIXES.items()):
        if size % unit == 0:
            return f"{size // unit}{suffix}"
    raise AssertionError("every size is a multiple of one byte")


def parse_duration(text: str) -> int:
    """Nanoseconds in `text`; UserError unless a number with ns, us, ms, s, m or h behind it."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or len(match[1]) > _DIGITS:
        raise UserError(f"{text!r} is not a duration: write it like 10ms, 2s or 5m")
    duration = Fraction(match[1]) * _TIMES[match[2]]
    if duration.denominator != 1:
        raise UserError(f"{text!r} is finer than a nanosecond: round it")
    return duration.numerator


def format_duration(duration: int) -> str:
    """The shortest exact text for nanoseconds, in s and below; parse_duration gives them back."""
    for unit in _WRITTEN:
        factor = _TIMES[unit]
        if duration % factor == 0:
            return f"{duration // factor}{unit}"
    raise AssertionError("every duration is a multiple of one nanosecond")
