"""Faults by their words: those of faults.proto in lower case, with hyphens.

kill stop hang spin slow garble drop leak exit raise
after-receive before-execute after-execute mid-batch before-reply after-reply ...
"""

from collections.abc import Iterable

from drivers.options import nearest
from protos import faults_pb2 as faults
from splitvisor.errors import UserError
from splitvisor.units import parse_duration, parse_size


def fault(
    action: str,
    at: str = "",
    device: str = "",
    *,
    nth: int = 1,
    times: int = 1,
    by: str = "",
    size: str = "",
    how: str = "",
    sector: int | None = None,
    seed: int = 0,
    every_incarnation: bool = False,
) -> faults.Fault:
    """A fault of a service OS; UserError for a word that is none.

    `device` is GUEST/DEVICE or DEVICE, `by` how much slower, `size` how much memory leaks, `how`
    an answer is garbled, `sector` the one of 512 bytes that a request must touch.
    """
    guest, _, name = device.rpartition("/")
    return faults.Fault(
        action=faults.Action.Value(_name(faults.Action.keys(), "fault", action)),
        point=faults.Point.Value(_name(faults.Point.keys(), "point", at or "anywhere")),
        guest=guest,
        device=name,
        nth=nth,
        times=times,
        delay_us=parse_duration(by) // 1000 if by else 0,
        bytes=parse_size(size) if size else 0,
        garble=faults.Garble.Value(_name(faults.Garble.keys(), "way to garble", how or "some")),
        seed=seed,
        every_incarnation=every_incarnation,
        sector=sector or 0,
        only_sector=sector is not None,
    )


def words(names: Iterable[str]) -> list[str]:
    """The words for names of an enumeration."""
    return [name.lower().replace("_", "-") for name in names]


def _name(names: Iterable[str], what: str, word: str) -> str:
    """The name in the enumeration that a word is for."""
    known = dict(zip(words(names), names, strict=True))
    if word not in known:
        raise UserError(f"no {what} {word!r}{nearest(word, known)}")
    return known[word]
