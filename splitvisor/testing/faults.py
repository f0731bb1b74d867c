"""Faults by the words of `splitvisor fault`, whose help explains actions and points."""

from collections.abc import Mapping
from typing import TypeVar

from drivers.options import nearest
from protos import faults_pb2 as faults
from splitvisor.cli.fault_words import GARBLES, KINDS, POINTS
from splitvisor.errors import UserError
from splitvisor.units import parse_duration, parse_size

T = TypeVar("T")


def fault(
    action: str,
    at: str = "",
    device: str = "",
    *,
    nth: int = 0,
    times: int = 1,
    by: str = "",
    size: str = "",
    how: str = "some",
    sector: int | None = None,
    seed: int = 0,
    every_incarnation: bool = False,
) -> faults.Fault:
    """A fault of a service OS; UserError for a word that is none.

    `device` is GUEST/DEVICE or DEVICE, `by` how much slower, `size` how much memory leaks, `how`
    an answer is garbled, `sector` the one of 512 bytes that a request must touch.
    """
    chosen = _find("fault", action, KINDS)
    point = _find("point", at, POINTS) if at else chosen.point
    if point == faults.ANYWHERE and (device or nth or sector is not None):
        point = faults.BEFORE_EXECUTE
    guest, _, name = device.rpartition("/")
    return faults.Fault(
        action=chosen.number,
        point=point,
        guest=guest,
        device=name,
        nth=nth,
        times=times,
        delay_us=parse_duration(by) // 1000 if by else 0,
        bytes=parse_size(size) if size else 0,
        garble=_find("way to garble", how, GARBLES),
        seed=seed,
        every_incarnation=every_incarnation,
        sector=sector or 0,
        only_sector=sector is not None,
    )


def _find(what: str, word: str, known: Mapping[str, T]) -> T:
    if word not in known:
        raise UserError(f"no {what} {word!r}{nearest(word, known)}")
    return known[word]
