"""Local APIC and IO-APIC, for KVM and the emulated CPU: registers and decisions, no clock.

After Intel's manual, volume 3, chapter 11, and the 82093AA data sheet, as far as guests with
edge-triggered lines need: fixed delivery, INIT and start-up; physical and flat logical
destinations; priorities. Left out: the timer (it needs a clock; its registers only remember),
level-triggered lines, NMI, and x2APIC. An edge at a masked pin is lost, as in the hardware.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

IOAPIC_PINS: Final = 24

ID, VERSION, TPR, PPR, EOI, LDR, DFR, SPURIOUS = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ICR_LOW, ICR_HIGH, CURRENT_COUNT = 0x100, 0x180, 0x200, 0x300, 0x310, 0x390
LVTS: Final = (0x320, 0x330, 0x340, 0x350, 0x360, 0x370)
READ_ONLY: Final = (VERSION, PPR, CURRENT_COUNT)
VERSION_VALUE: Final = 0x50014  # an integrated APIC with six local vectors
MASKED: Final = 1 << 16
ENABLED: Final = 1 << 8
LOGICAL: Final = 1 << 11
ASSERT: Final = 1 << 14
FIXED, LOWEST, INIT, STARTUP = 0, 1, 5, 6
TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS = range(4)
BROADCAST: Final = 0xFF


@dataclass(frozen=True, slots=True)
class Message:
    """An interrupt on its way to the local APICs; `low` as in an ICR or a redirection entry."""

    low: int
    destination: int
    shorthand: int = TO_DESTINATION
    source: int = BROADCAST

    @property
    def vector(self) -> int:
        """The vector, or the page number of a start-up interrupt."""
        return self.low & 0xFF

    @property
    def mode(self) -> int:
        """Delivery mode."""
        return self.low >> 8 & 7


class LocalApic:
    """The registers of one local APIC and the interrupts that it holds, as 256-bit sets."""

    def __init__(self, identity: int, send: Callable[[Message], None]) -> None:
        self.identity = identity
        self._send = send
        self.reset()

    def reset(self) -> None:
        """As after power-up or INIT."""
        self._registers = {VERSION: VERSION_VALUE, DFR: 0xFFFFFFFF, SPURIOUS: 0xFF}
        self._registers |= dict.fromkeys(LVTS, MASKED)
        self._registers[ID] = self.identity << 24
        self.requested = self.in_service = 0

    def read(self, offset: int) -> int:
        """A 32-bit register."""
        for base, bits in ((ISR, self.in_service), (IRR, self.requested), (TMR, 0)):
            if base <= offset < base + 0x80:
                return bits >> (offset - base) // 0x10 * 32 & 0xFFFFFFFF
        return self._priority() if offset == PPR else self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """A 32-bit register; a write to the low half of the ICR sends."""
        if offset == EOI:
            self.in_service &= ~(1 << self.in_service.bit_length() >> 1)
        elif offset == ICR_LOW:
            self._registers[offset] = value & ~(1 << 12)
            to = self._registers.get(ICR_HIGH, 0) >> 24
            self._send(Message(value, to, value >> 18 & 3, self.identity))
        elif offset not in READ_ONLY and not ISR <= offset < IRR + 0x80:
            self._registers[offset] = value

    def accept(self, vector: int) -> None:
        """Take a fixed interrupt, unless software has this APIC disabled."""
        if self._registers[SPURIOUS] & ENABLED and vector >= 16:
            self.requested |= 1 << vector

    def addressed(self, message: Message) -> bool:
        """Whether a message is for this APIC."""
        if message.shorthand != TO_DESTINATION:
            own = message.source == self.identity
            return message.shorthand == TO_ALL or own == (message.shorthand == TO_SELF)
        if message.low & LOGICAL:
            return bool(self._registers.get(LDR, 0) >> 24 & message.destination)
        return message.destination in (BROADCAST, self._registers[ID] >> 24)

    def pending(self) -> bool:
        """Whether an interrupt stands above the processor's priority."""
        return self.requested.bit_length() - 1 >> 4 > self._priority() >> 4

    def acknowledge(self) -> int:
        """The vector to deliver now; it is in service until EOI. Only while pending()."""
        vector = self.requested.bit_length() - 1
        self.requested &= ~(1 << vector)
        self.in_service |= 1 << vector
        return vector

    def _priority(self) -> int:
        serving = max(0, self.in_service.bit_length() - 1) & 0xF0
        task = self._registers.get(TPR, 0) & 0xFF
        return task if task & 0xF0 >= serving else serving


class IoApic:
    """24 edge-triggered pins and their redirection entries."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._select = 0
        self._entries = [MASKED] * IOAPIC_PINS

    def read(self, offset: int) -> int:
        """The select register at 0, the selected one at 0x10."""
        if offset == 0:
            return self._select
        if offset != 0x10:
            return 0
        if self._select == 1:
            return IOAPIC_PINS - 1 << 16 | 0x11
        pin, high = divmod(self._select - 0x10, 2)
        return self._entries[pin] >> 32 * high & 0xFFFFFFFF if 0 <= pin < IOAPIC_PINS else 0

    def write(self, offset: int, value: int) -> None:
        """The select register at 0, the selected one at 0x10."""
        pin, high = divmod(self._select - 0x10, 2)
        if offset == 0:
            self._select = value & 0xFF
        elif offset == 0x10 and 0 <= pin < IOAPIC_PINS:
            kept = self._entries[pin] & 0xFFFFFFFF << 32 * (1 - high)
            self._entries[pin] = kept | value << 32 * high

    def pulse(self, pin: int) -> None:
        """An edge at a pin."""
        entry = self._entries[pin]
        if not entry & MASKED:
            self._send(Message(entry & 0xFFFF, entry >> 56))


def receivers(message: Message, apics: Sequence[LocalApic]) -> list[int]:
    """Indices of the local APICs that take a message; lowest priority goes to the first."""
    found = [index for index, apic in enumerate(apics) if apic.addressed(message)]
    return found[:1] if message.mode == LOWEST else found
