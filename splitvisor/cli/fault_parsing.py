"""A fault from the words that people write: of `splitvisor fault`, and of tests in Python."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from drivers.options import nearest
from protos import core_pb2 as core
from protos import faults_pb2 as faults
from splitvisor.cli.fault_words import GARBLES, KINDS, POINTS
from splitvisor.errors import UserError
from splitvisor.machine import Model
from splitvisor.units import format_duration, format_size, parse_duration, parse_size

SLOWER = "20ms"
LEAKED = "64M"
MAX_DELAY_US = 3_600_000_000  # an hour
MAX_LEAK = 1 << 40
MAX_COUNT = 10**15  # more than any machine lives to see

T = TypeVar("T")


def parse_fault(
    action: str,
    at: str = "",
    device: str = "",
    *,
    nth: int = 0,
    times: int | None = None,
    by: str = "",
    size: str = "",
    how: str = "some",
    sector: int | None = None,
    seed: int = 0,
    every_incarnation: bool = False,
) -> faults.Fault:
    """A fault of a service OS; UserError for a word that is none, or an amount beyond all limits.

    `device` is GUEST/DEVICE or DEVICE, `times` how often it acts (0: for ever; None: as is usual
    for the kind), `by` how much slower, `size` how much memory leaks, `how` an answer is garbled,
    `sector` the one of 512 bytes that a request must touch.
    """
    for option, number in {"nth": nth, "times": times, "sector": sector, "seed": seed}.items():
        if number is not None and not 0 <= number <= MAX_COUNT:
            raise UserError(f"--{option} {number}: give 0 to {MAX_COUNT}")
    kind = _find("fault", action, KINDS)
    point = _find("point", at, POINTS) if at else kind.point
    if point == faults.ANYWHERE and (device or nth or sector is not None):
        point = faults.BEFORE_EXECUTE
    if every_incarnation and point == faults.ANYWHERE and kind.is_signal:
        raise UserError("a signal is sent once: name a point for --every-incarnation with --at")
    if times not in (None, 1) and point == faults.ANYWHERE and kind.is_signal:
        raise UserError(f"a signal is sent once: name a point for --times {times} with --at")
    guest, name = _device(device)
    return faults.Fault(
        action=kind.number,
        point=point,
        guest=guest,
        device=name,
        nth=nth,
        times=kind.times if times is None else times,
        delay_us=_delay_us(by or SLOWER) if kind.number == faults.SLOW else 0,
        bytes=_leak(size or LEAKED) if kind.number == faults.LEAK else 0,
        garble=_find("way to garble", how, GARBLES),
        seed=seed,
        every_incarnation=every_incarnation,
        sector=sector or 0,
        only_sector=sector is not None,
    )


def check_disk(fault: faults.Fault, guests: Iterable[core.GuestStatus]) -> None:
    """UserError if it waits for a sector of a device that is no disk and has none."""
    models = [
        device.model
        for guest in guests
        for device in guest.devices
        if fault.device == device.name and fault.guest in ("", guest.name)
    ]
    if models and Model.BLOCK not in models:
        where = f"{fault.device} is no disk (model {models[0]})"
        raise UserError(f"--sector {fault.sector}: {where}: name a disk with --device")


def _find(what: str, word: str, known: Mapping[str, T]) -> T:
    if word not in known:
        raise UserError(f"no {what} {word!r}{nearest(word, known)}")
    return known[word]


def _device(text: str) -> tuple[str, str]:
    guest, slash, name = text.rpartition("/")
    if "/" in guest or (text and not name) or (slash and not guest):
        raise UserError(f"--device {text!r}: write GUEST/DEVICE, as in web/disk0")
    return guest, name


def _delay_us(text: str) -> int:
    delay_us = parse_duration(text) // 1000
    if not 1 <= delay_us <= MAX_DELAY_US:
        limits = f"1us to {format_duration(MAX_DELAY_US * 1000)}"
        raise UserError(f"--by {text}: give {limits}")
    return delay_us


def _leak(text: str) -> int:
    size = parse_size(text)
    if not 1 <= size <= MAX_LEAK:
        raise UserError(f"--bytes {text}: give 1 to {format_size(MAX_LEAK)}")
    return size
