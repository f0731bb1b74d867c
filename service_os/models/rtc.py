"""The real-time clock of a PC: an MC146818 behind an index and a data port, without the crystal.

What the guest reads is the driver's time plus an offset, and setting the clock changes the offset
alone. The offset, the index and the rest of the 128 bytes of CMOS RAM are the state, so a clock
that was set stays set, and ticks on, whoever dies.

It keeps time and does nothing by itself: alarm, periodic and update interrupts do not exist, and
the bits that enable them cannot be set. The day of the week follows from the date.

Register names are those of the Motorola MC146818A data sheet; the century is where PCs have it.
"""

import struct
from datetime import UTC, datetime, timedelta

from drivers.interface import ClockDriver
from protos.io_pb2 import Request
from service_os.models.attributes import nanoseconds
from service_os.models.base import Done, Shape

SLOTS = 16
INDEX, DATA = range(2)  # offsets from the first port, 0x70
NMI_MASK = 0x80  # of the index: keeps non-maskable interrupts from the CPU; there are none

SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR = 0, 2, 4, 6, 7, 8, 9
CENTURY = 0x32
TIME = (SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY)
A, B, C, D = range(0x0A, 0x0E)
REGISTERS = 128

A_UIP, A_RESET, A_USUAL = 0x80, 0x60, 0x26  # the divider held in reset; a 32,768 Hz crystal
B_SET, B_BINARY, B_24, B_KEPT = 0x80, 0x04, 0x02, 0x8F
D_VALID = 0x80
PM = 0x80  # of the hours, when there are twelve

SECOND = 1_000_000_000
UPDATE = 2_228_000  # nanoseconds before each second in which real ones ask not to be read
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = (
    int((moment.replace(tzinfo=UTC) - EPOCH).total_seconds())
    for moment in (datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
)

STATE = struct.Struct(f"<BBqI{REGISTERS}s")  # version, index, offset (s, ns), registers
VERSION = 1


class RtcModel:
    """One clock."""

    shape = Shape(device_id=0, slots=SLOTS)
    listening = False
    hungry = False

    def __init__(self, state: bytes, driver: ClockDriver) -> None:
        self.interrupt = False
        self._clock = driver
        self._offset = 0  # nanoseconds
        self._index = 0
        self._registers = bytearray(REGISTERS)
        self._registers[A], self._registers[B] = A_USUAL, B_24
        if state:
            if len(state) != STATE.size or state[0] != VERSION:
                raise ValueError(f"not a clock's state of version {VERSION}")
            _, self._index, seconds, rest, registers = STATE.unpack(state)
            self._offset = seconds * SECOND + rest
            self._registers[:] = registers

    def submit(self, request: Request, readable: memoryview, writable: memoryview) -> list[Done]:
        """See Evented. Only single bytes at the two ports mean anything."""
        access = request.access
        if access.size != 1 or access.offset > DATA:
            return [Done(request, value=(1 << 8 * min(access.size, 4)) - 1)]
        if access.offset == INDEX:
            if access.write:
                self._index = access.value & ~NMI_MASK & 0xFF
            return [Done(request, value=0xFF)]
        if access.write:
            self._write(self._index, access.value & 0xFF)
            return [Done(request)]
        return [Done(request, value=self._read(self._index))]

    def receive(self, data: bytes) -> list[Done]:
        """See Evented; nothing ever comes."""
        return []

    def reset(self) -> list[Done]:
        """See Evented; nothing is ever held."""
        return []

    def take_output(self) -> tuple[bytes, int]:
        """See Evented; nothing ever leaves."""
        return b"", 0

    def state(self) -> bytes:
        """See Evented."""
        seconds, rest = divmod(self._offset, SECOND)
        return STATE.pack(VERSION, self._index, seconds, rest, bytes(self._registers))

    @property
    def _set(self) -> bool:
        """The guest is setting the clock: the time is what it has written so far."""
        return bool(self._registers[B] & B_SET)

    def _now(self) -> int:
        """The driver's time, nanoseconds since 1970."""
        return nanoseconds(self._clock)

    def _read(self, register: int) -> int:
        if register in TIME and not self._set:
            return self._shown((self._now() + self._offset) // SECOND)[register]
        if register == A and not self._set:
            updates = (self._now() + self._offset) % SECOND >= SECOND - UPDATE
            return self._registers[A] | (A_UIP if updates else 0)
        return {C: 0, D: D_VALID}.get(register, self._registers[register])

    def _write(self, register: int, value: int) -> None:
        if register == B:
            self._write_b(value & B_KEPT)
        elif register == A:
            self._registers[A] = value & ~A_UIP & 0xFF
        elif register in TIME and not self._set:
            now = self._now()
            self._load((now + self._offset) // SECOND)
            self._registers[register] = value
            self._adjust(now, (now + self._offset) % SECOND)
        elif register not in (C, D):
            self._registers[register] = value

    def _write_b(self, value: int) -> None:
        before = self._set
        if value & B_SET and not before:
            self._load((self._now() + self._offset) // SECOND)
        self._registers[B] = value
        if before and not value & B_SET:
            # The first second after the divider was held in reset takes half of one.
            held = self._registers[A] & A_RESET == A_RESET
            self._adjust(self._now(), SECOND // 2 if held else 0)

    def _load(self, seconds: int) -> None:
        for register, value in self._shown(seconds).items():
            self._registers[register] = value

    def _adjust(self, now: int, fraction: int) -> None:
        """Have it be what the registers say, and so much (ns) of the next second."""
        self._offset = self._told() * SECOND + fraction - now

    def _shown(self, seconds: int) -> dict[int, int]:
        """The time registers for a time in seconds since 1970."""
        t = EPOCH + timedelta(seconds=min(max(seconds, EARLIEST), LATEST))
        hours, afternoon = t.hour, 0
        if not self._registers[B] & B_24:
            hours, afternoon = (t.hour + 11) % 12 + 1, PM if t.hour >= 12 else 0
        day = (t.isoweekday() % 7 + 1, t.day, t.month, t.year % 100, t.year // 100)
        values = map(self._coded, (t.second, t.minute, hours, *day))
        shown = dict(zip(TIME, values, strict=True))
        shown[HOURS] |= afternoon
        return shown

    def _told(self) -> int:
        """Seconds since 1970 of what the time registers say; what is too much is carried over."""
        raw = self._registers
        hours = self._plain(raw[HOURS])
        if not raw[B] & B_24:
            hours = self._plain(raw[HOURS] & ~PM) % 12 + (12 if raw[HOURS] & PM else 0)
        year = self._plain(raw[CENTURY]) * 100 + self._plain(raw[YEAR])
        month = datetime(
            min(max(year, 1), 9999), min(max(self._plain(raw[MONTH]), 1), 12), 1, tzinfo=UTC
        )
        days = (month - EPOCH).days + self._plain(raw[DAY]) - 1
        minutes, seconds = self._plain(raw[MINUTES]), self._plain(raw[SECONDS])
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    def _coded(self, value: int) -> int:
        return value if self._registers[B] & B_BINARY else value // 10 << 4 | value % 10

    def _plain(self, raw: int) -> int:
        return raw if self._registers[B] & B_BINARY else (raw >> 4) * 10 + (raw & 0xF)
