"""Messages reach the processors they are for, and exactly those are told to look."""

import pytest

from cpus.apic import INIT, STARTUP, IoApic, LocalApic
from cpus.wiring import Processor, Wiring
from microhypervisor.errors import PeerFault

ASSERT = 1 << 14


class Looked(Processor):
    def __init__(self, index, wiring):
        super().__init__(index, wiring)
        self.looks = self.wakes = 0
        self.wake = self._woken

    def _woken(self):
        self.wakes += 1

    def look(self):
        self.looks += 1
        super().look()


@pytest.fixture
def wired():
    wiring = Wiring()
    processors = [Looked(index, wiring) for index in range(3)]
    wiring.connect(processors)
    for processor in processors:
        processor.apic.write(0xF0, 0x1FF)
    return wiring, processors


def send(wiring, processors, low, destination):
    def write():
        processors[0].apic.write(0x310, destination << 24)
        processors[0].apic.write(0x300, low)

    wiring.access(write)


def counts(processors):
    return [(processor.looks, processor.wakes) for processor in processors]


def test_start_up_in_order(wired):
    wiring, processors = wired
    second = processors[1]
    assert [processor.runnable() for processor in processors] == [True, False, False]
    send(wiring, processors, STARTUP << 8 | ASSERT | 9, 1)
    assert second.runnable()
    assert counts(processors) == [(0, 0), (1, 1), (0, 0)]
    assert second.started() == 9
    assert second.started() is None
    send(wiring, processors, STARTUP << 8 | ASSERT | 10, 1)  # started already: ignored
    assert second.started() is None
    assert second.looks == 1
    send(wiring, processors, INIT << 8 | ASSERT, 1)
    assert not second.runnable()
    assert second.looks == 2
    send(wiring, processors, INIT << 8, 1)  # deasserted: nothing
    send(wiring, processors, INIT << 8 | ASSERT, 1)  # it waits already
    assert second.looks == 2


def test_an_interrupt_wakes_only_who_sleeps(wired):
    wiring, processors = wired
    first = processors[0]
    send(wiring, processors, ASSERT | 0x40, 0)
    assert first.attention
    assert counts(processors)[0] == (1, 0)  # it runs
    first.apic.acknowledge()
    first.halt(deaf=False)
    assert not first.runnable()
    send(wiring, processors, ASSERT | 0x41, 0)  # same class as what is in service
    assert (first.runnable(), first.looks, first.wakes) == (False, 1, 0)
    send(wiring, processors, ASSERT | 0x50, 0)
    assert (first.runnable(), first.looks, first.wakes) == (True, 2, 1)


def test_the_deaf_are_left_alone(wired):
    wiring, processors = wired
    processors[0].halt(deaf=True)
    send(wiring, processors, ASSERT | 0x40, 0)
    assert not processors[0].runnable()
    assert counts(processors)[0] == (0, 0)


def test_who_is_told_may_use_the_wiring(wired):
    wiring, processors = wired
    processors[0].halt(deaf=False)
    seen = []
    processors[0].wake = lambda: seen.append(processors[0].runnable())
    send(wiring, processors, ASSERT | 0x40, 0)
    assert seen == [True]


def test_a_line_pulses_its_pin(wired):
    wiring, processors = wired
    wiring.io_apic.write(0, 0x1A)
    wiring.io_apic.write(0x10, 0x33)
    wiring.line(5)()
    wiring.line(6)()
    assert processors[0].apic.requested == 1 << 0x33
    for pin in (-1, 24):
        with pytest.raises(PeerFault, match="pins 0 to 23"):
            wiring.line(pin)


def test_what_answers_where(wired):
    _, processors = wired
    kinds = [type(processors[1].unit(a)) for a in (0xFEE00010, 0xFEC00010, 0xFEE01000)]
    assert kinds == [LocalApic, IoApic, type(None)]
    assert processors[1].unit(0xFEE00010, -1) is None
    assert processors[1].unit(0xD0000010, 0xD0000) is processors[1].apic
