"""Transcripts of the local APIC and the IO-APIC: what software writes, what goes out."""

from hypothesis import given
from hypothesis import strategies as st

from cpus.apic import (
    DFR,
    EOI,
    ICR_HIGH,
    ICR_LOW,
    ID,
    INIT,
    IRR,
    ISR,
    LDR,
    PPR,
    SPURIOUS,
    STARTUP,
    TPR,
    VERSION,
    IoApic,
    LocalApic,
    Message,
    receivers,
)


def enabled(identity: int = 0, sent: list[Message] | None = None) -> LocalApic:
    apic = LocalApic(identity, (sent if sent is not None else []).append)
    apic.write(SPURIOUS, 0x1FF)
    return apic


def test_registers_after_reset():
    apic = LocalApic(3, lambda _message: None)
    assert [apic.read(register) for register in (ID, VERSION, TPR, DFR, SPURIOUS, 0x350)] == [
        3 << 24,
        0x50014,
        0,
        0xFFFFFFFF,
        0xFF,
        0x10000,
    ]


def test_read_only_registers_stay():
    apic = enabled()
    for register in (VERSION, PPR, ISR, IRR, 0x390):
        before = apic.read(register)
        apic.write(register, 0xFFFFFFFF)
        assert apic.read(register) == before


def test_nothing_is_accepted_while_disabled_by_software():
    apic = LocalApic(0, lambda _message: None)
    apic.accept(0x40)
    assert not apic.pending()


def test_an_interrupt_goes_from_requested_to_in_service_to_done():
    apic = enabled()
    apic.accept(0x45)
    assert (apic.pending(), apic.read(IRR + 0x20)) == (True, 1 << 5)
    assert apic.acknowledge() == 0x45
    assert (apic.pending(), apic.read(IRR + 0x20), apic.read(ISR + 0x20)) == (False, 0, 1 << 5)
    assert apic.read(PPR) == 0x40
    apic.write(EOI, 0)
    assert (apic.read(ISR + 0x20), apic.read(PPR)) == (0, 0)


def test_only_a_higher_class_interrupts_a_handler():
    apic = enabled()
    apic.accept(0x45)
    apic.acknowledge()
    apic.accept(0x4F)
    assert not apic.pending()
    apic.accept(0x50)
    assert apic.acknowledge() == 0x50
    apic.write(EOI, 0)
    assert not apic.pending()
    apic.write(EOI, 0)
    assert apic.acknowledge() == 0x4F


def test_the_task_priority_holds_interrupts_back():
    apic = enabled()
    apic.write(TPR, 0x50)
    apic.accept(0x5F)
    assert not apic.pending()
    apic.write(TPR, 0x40)
    assert apic.pending()


@given(st.sets(st.integers(16, 255)))
def test_interrupts_are_served_once_each_the_highest_first(vectors):
    apic = enabled()
    for vector in vectors:
        apic.accept(vector)
    served = []
    while apic.pending():
        served.append(apic.acknowledge())
        apic.write(EOI, 0)
    assert served == sorted(vectors, reverse=True)


def test_writing_the_low_command_register_sends():
    sent = []
    apic = enabled(0, sent)
    apic.write(ICR_HIGH, 2 << 24)
    apic.write(ICR_LOW, 0x4500)
    apic.write(ICR_LOW, 0x4609)
    assert [(message.mode, message.vector, message.destination) for message in sent] == [
        (INIT, 0, 2),
        (STARTUP, 9, 2),
    ]
    assert apic.read(ICR_LOW) == 0x4609


def test_who_receives():
    apics = [enabled(identity) for identity in range(3)]
    apics[2].write(LDR, 0x06 << 24)
    apics[1].write(LDR, 0x02 << 24)

    def to(**fields: int) -> list[int]:
        low = fields.pop("low", 0x40)
        return receivers(Message(low, **{"destination": 0, **fields}), apics)

    assert to(destination=1) == [1]
    assert to(destination=7) == []
    assert to(destination=0xFF) == [0, 1, 2]
    assert to(low=0x840, destination=2) == [1, 2]
    assert to(low=0x940, destination=2) == [1]
    assert to(shorthand=1, source=1) == [1]
    assert to(shorthand=2, source=1) == [0, 1, 2]
    assert to(shorthand=3, source=1) == [0, 2]


def test_the_io_apic_sends_on_an_edge_at_an_open_pin():
    sent = []
    io_apic = IoApic(sent.append)
    for register, value in ((0x1B, 2 << 24), (0x1A, 0x33)):
        io_apic.write(0, register)
        io_apic.write(0x10, value)
    io_apic.pulse(5)
    io_apic.pulse(6)
    assert sent == [Message(0x33, 2)]
    io_apic.write(0x10, 0x10033)
    io_apic.pulse(5)
    assert len(sent) == 1


def test_the_io_apic_shows_its_registers():
    io_apic = IoApic(lambda _message: None)
    io_apic.write(0, 1)
    assert (io_apic.read(0), io_apic.read(0x10)) == (1, 0x170011)
    io_apic.write(0, 0x3F)
    io_apic.write(0x10, 7 << 24)
    assert io_apic.read(0x10) == 7 << 24
    io_apic.write(0, 0x3E)
    assert io_apic.read(0x10) == 0x10000
    io_apic.write(0, 0x40)
    io_apic.write(0x10, 1)
    assert io_apic.read(0x10) == 0
