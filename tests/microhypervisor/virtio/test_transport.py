"""The virtio-mmio register page: initialisation as a transcript, and no access that harms."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from microhypervisor.virtio import constants as v
from microhypervisor.virtio.transport import (
    ConfigWrite,
    DriverOk,
    Notify,
    QueueReady,
    QueueStopped,
    Reset,
    Transport,
)

F_OWN = 1 << 9  # a device feature
FEATURES = F_OWN | v.CORE_FEATURES
CONFIG = bytes(range(0x10, 0x1C))
ACCEPTED = F_OWN | v.F_VERSION_1


@pytest.fixture
def page():
    return Transport(2, FEATURES, CONFIG, [256, 64])


def accept(page, features):
    page.write(v.DRIVER_FEATURES_SEL, 4, 0)
    page.write(v.DRIVER_FEATURES, 4, features & 0xFFFFFFFF)
    page.write(v.DRIVER_FEATURES_SEL, 4, 1)
    page.write(v.DRIVER_FEATURES, 4, features >> 32)


def set_status(page, *bits):
    """Add bits to the status, as a driver does; the last effect."""
    effect = None
    for bit in bits:
        effect = page.write(v.STATUS, 4, page.read(v.STATUS, 4) | bit)
    return effect


def bring_up(page):
    set_status(page, v.ACKNOWLEDGE, v.DRIVER)
    accept(page, ACCEPTED)
    set_status(page, v.FEATURES_OK)
    return set_status(page, v.DRIVER_OK)


def test_initialisation_as_in_section_3_1_1(page):
    # probe, 4.2.3.1
    assert page.read(v.MAGIC_VALUE, 4) == 0x74726976
    assert page.read(v.VERSION, 4) == 2
    assert page.read(v.DEVICE_ID, 4) == 2
    # 1. reset
    assert page.write(v.STATUS, 4, 0) == Reset()
    assert page.read(v.STATUS, 4) == 0
    # 2. and 3.
    assert page.write(v.STATUS, 4, v.ACKNOWLEDGE) is None
    assert page.write(v.STATUS, 4, v.ACKNOWLEDGE | v.DRIVER) is None
    # 4. features
    words = []
    for word in (0, 1, 2):
        page.write(v.DEVICE_FEATURES_SEL, 4, word)
        words.append(page.read(v.DEVICE_FEATURES, 4))
    assert words == [F_OWN | v.F_INDIRECT_DESC | v.F_EVENT_IDX, 1, 0]
    accept(page, ACCEPTED)
    # 5. and 6.
    page.write(v.STATUS, 4, v.ACKNOWLEDGE | v.DRIVER | v.FEATURES_OK)
    assert page.read(v.STATUS, 4) & v.FEATURES_OK
    assert page.driver_features == ACCEPTED
    # 7. the device's own set-up, here its second queue, 4.2.3.2
    page.write(v.QUEUE_SEL, 4, 1)
    assert page.read(v.QUEUE_READY, 4) == 0
    assert page.read(v.QUEUE_NUM_MAX, 4) == 64
    for register, value in [
        (v.QUEUE_NUM, 32),
        (v.QUEUE_DESC_LOW, 0x89AB0000),
        (v.QUEUE_DESC_HIGH, 0x4567),
        (v.QUEUE_DRIVER_LOW, 0x2000),
        (v.QUEUE_DRIVER_HIGH, 0),
        (v.QUEUE_DEVICE_LOW, 0x3000),
        (v.QUEUE_DEVICE_HIGH, 1),
    ]:
        assert page.write(register, 4, value) is None
    assert page.write(v.QUEUE_READY, 4, 1) == QueueReady(1)
    assert page.read(v.QUEUE_READY, 4) == 1
    queue = page.queues[1]
    assert (queue.size, queue.desc) == (32, 0x456789AB0000)
    assert (queue.driver, queue.device) == (0x2000, 0x100003000)
    # 8. the device lives
    assert not page.live
    assert page.write(v.STATUS, 4, page.status | v.DRIVER_OK) == DriverOk()
    assert page.live
    assert page.write(v.QUEUE_NOTIFY, 4, 1) == Notify(1)


@pytest.mark.parametrize(
    "features", [0, F_OWN, F_OWN | v.F_EVENT_IDX, ACCEPTED | 1 << 10, v.F_VERSION_1 | 1 << 63]
)
def test_features_that_were_not_offered_or_are_not_modern_are_refused(page, features):
    set_status(page, v.ACKNOWLEDGE, v.DRIVER)
    accept(page, features)
    set_status(page, v.FEATURES_OK)
    assert page.read(v.STATUS, 4) == v.ACKNOWLEDGE | v.DRIVER
    # a driver that goes on all the same gets nowhere
    assert set_status(page, v.DRIVER_OK) is None
    assert not page.live
    # and may try again
    accept(page, ACCEPTED)
    set_status(page, v.FEATURES_OK)
    assert set_status(page, v.DRIVER_OK) == DriverOk()


def test_features_are_fixed_once_accepted(page):
    bring_up(page)
    accept(page, FEATURES)
    assert page.driver_features == ACCEPTED


def test_a_running_driver_cannot_take_features_ok_back_and_change_features(page):
    bring_up(page)
    page.write(v.STATUS, 4, v.ACKNOWLEDGE | v.DRIVER | v.DRIVER_OK)
    accept(page, (1 << 64) - 1)
    assert not page.live or page.driver_features == ACCEPTED


def test_only_the_low_byte_of_status_counts(page):
    bring_up(page)
    assert page.write(v.STATUS, 4, 0x100) == Reset()
    assert page.queues[0].ready is False
    assert page.driver_features == 0


def test_reset_clears_everything_the_driver_set(page):
    bring_up(page)
    page.write(v.QUEUE_SEL, 4, 1)
    page.write(v.QUEUE_NUM, 4, 8)
    page.write(v.QUEUE_DESC_LOW, 4, 0x1000)
    page.write(v.QUEUE_READY, 4, 1)
    page.interrupt_status = 3
    assert page.write(v.STATUS, 4, 0) == Reset()
    fresh = Transport(2, FEATURES, CONFIG, [256, 64])
    assert page == fresh


def test_a_device_that_needs_a_reset_says_so_until_it_gets_one(page):
    bring_up(page)
    page.status |= v.NEEDS_RESET
    assert not page.live
    assert page.write(v.QUEUE_NOTIFY, 4, 0) is None
    page.write(v.STATUS, 4, v.ACKNOWLEDGE)
    assert page.read(v.STATUS, 4) & v.NEEDS_RESET
    page.write(v.STATUS, 4, 0)
    assert page.read(v.STATUS, 4) == 0
    assert bring_up(page) == DriverOk()
    assert page.live


def test_a_queue_in_service_cannot_be_moved(page):
    bring_up(page)
    page.write(v.QUEUE_DESC_LOW, 4, 0x1000)
    assert page.write(v.QUEUE_READY, 4, 1) == QueueReady(0)
    assert page.write(v.QUEUE_READY, 4, 1) is None
    page.write(v.QUEUE_DESC_LOW, 4, 0x2000)
    page.write(v.QUEUE_NUM, 4, 4)
    assert (page.queues[0].desc, page.queues[0].size) == (0x1000, 0)
    assert page.write(v.QUEUE_READY, 4, 0) == QueueStopped(0)
    assert page.write(v.QUEUE_READY, 4, 0) is None
    page.write(v.QUEUE_DESC_LOW, 4, 0x2000)
    assert page.queues[0].desc == 0x2000


def test_a_queue_that_does_not_exist_reads_as_absent_and_takes_nothing(page):
    bring_up(page)
    page.write(v.QUEUE_SEL, 4, 2)
    assert page.read(v.QUEUE_NUM_MAX, 4) == 0
    assert page.read(v.QUEUE_READY, 4) == 0
    assert page.write(v.QUEUE_READY, 4, 1) is None
    assert page.write(v.QUEUE_NOTIFY, 4, 2) is None


@pytest.mark.parametrize("stage", [(), (v.ACKNOWLEDGE, v.DRIVER)])
def test_a_doorbell_before_driver_ok_is_silent(page, stage):
    set_status(page, *stage)
    assert page.write(v.QUEUE_NOTIFY, 4, 0) is None


def test_interrupts_are_acknowledged_bit_by_bit(page):
    page.interrupt_status = v.INT_VRING | v.INT_CONFIG
    page.write(v.INTERRUPT_ACK, 4, v.INT_CONFIG)
    assert page.read(v.INTERRUPT_STATUS, 4) == v.INT_VRING
    page.write(v.INTERRUPT_ACK, 4, 0xFFFFFFFF)
    assert page.read(v.INTERRUPT_STATUS, 4) == 0


def test_shared_memory_regions_do_not_exist(page):
    page.write(v.SHM_SEL, 4, 0)
    assert [page.read(at, 4) for at in range(v.SHM_LEN_LOW, v.SHM_BASE_HIGH + 4, 4)] == [
        0xFFFFFFFF
    ] * 4


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0, 1, 0x10),
        (3, 1, 0x13),
        (2, 2, 0x1312),
        (4, 4, 0x17161514),
        (0, 8, 0x1716151413121110),
        (8, 8, 0x1B1A1918),  # what lies behind the end reads as zero
        (12, 4, 0),
        (0xEFF, 1, 0),
    ],
)
def test_configuration_is_read_in_any_size(page, offset, size, value):
    assert page.read(v.CONFIG + offset, size) == value


def test_configuration_writes_become_effects_if_they_lie_inside(page):
    assert page.write(v.CONFIG + 2, 2, 0xBBAA) == ConfigWrite(2, b"\xaa\xbb")
    assert page.write(v.CONFIG + 8, 4, 1) == ConfigWrite(8, b"\1\0\0\0")
    assert page.write(v.CONFIG + 10, 4, 1) is None
    assert page.config == CONFIG  # it is the service OS that decides what changes


@pytest.mark.parametrize("size", [1, 2, 8])
def test_registers_take_only_aligned_words(page, size):
    assert page.read(v.MAGIC_VALUE, size) == 0
    assert page.read(v.MAGIC_VALUE + 1, 4) == 0
    bring_up(page)
    assert page.write(v.STATUS, size, 0) is None
    assert page.live


offsets = st.integers(0, v.CONFIG // 4 + 8).map(lambda word: 4 * word) | st.integers(0, 0xFFF)
sizes = st.sampled_from([4, 4, 4, 1, 2, 8])
words = st.sampled_from([0, 1, 2, 3, 0xFFFFFFFF, 0x80000000, 0x100]) | st.integers(0, (1 << 64) - 1)
STATUS_BITS = [v.ACKNOWLEDGE, v.DRIVER, v.DRIVER_OK, v.FEATURES_OK, v.NEEDS_RESET, v.FAILED]


class AnyAccess(RuleBasedStateMachine):
    """Whatever a guest does, the page stays consistent."""

    def __init__(self):
        super().__init__()
        self.page = Transport(2, FEATURES, CONFIG, [256, 64])
        self.enabled = set()

    @rule(offset=offsets, size=sizes, value=words)
    def write(self, offset, size, value):
        before = self.page.status
        effect = self.page.write(offset, size, value & (1 << 8 * size) - 1)
        match effect:
            case Notify(queue):
                assert before & v.DRIVER_OK
                assert not before & v.NEEDS_RESET
                assert queue < 2
            case QueueReady(queue):
                assert queue not in self.enabled
                self.enabled.add(queue)
            case QueueStopped(queue):
                self.enabled.remove(queue)
            case Reset():
                self.enabled.clear()
                assert self.page.status == 0
            case DriverOk():
                assert not before & v.DRIVER_OK
            case ConfigWrite(at, data):
                assert at + len(data) <= len(CONFIG)
        if before & v.NEEDS_RESET and not isinstance(effect, Reset):
            assert self.page.status & v.NEEDS_RESET

    @rule(bits=st.sets(st.sampled_from(STATUS_BITS)), high=st.sampled_from([0, 0, 0x100]))
    def status(self, bits, high):
        self.write(v.STATUS, 4, sum(bits) | high)

    @rule(features=st.sampled_from([ACCEPTED, FEATURES, ACCEPTED | 4, 0]))
    def features(self, features):
        accept(self.page, features)

    @rule()
    def start(self):
        for status in (0, v.DRIVER):
            self.write(v.STATUS, 4, status)
        accept(self.page, ACCEPTED)
        for status in (v.FEATURES_OK, v.FEATURES_OK | v.DRIVER_OK):
            self.write(v.STATUS, 4, status)

    @rule()
    def break_a_rule(self):
        self.page.status |= v.NEEDS_RESET

    @rule(offset=offsets, size=sizes)
    def read(self, offset, size):
        assert 0 <= self.page.read(offset, size) < 1 << 8 * size

    @invariant()
    def status_is_consistent(self):
        page = self.page
        assert 0 <= page.status <= 0xFF
        if page.status & v.DRIVER_OK:
            assert page.status & v.FEATURES_OK
        if page.status & v.FEATURES_OK:
            assert not page.driver_features & ~FEATURES
            assert page.driver_features & v.F_VERSION_1
        assert {i for i, queue in enumerate(page.queues) if queue.ready} == self.enabled


AnyAccess.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAnyAccess = AnyAccess.TestCase


@given(st.lists(st.tuples(offsets, sizes)))
def test_reads_change_nothing(accesses):
    page = Transport(2, FEATURES, CONFIG, [256, 64])
    bring_up(page)
    before = repr(page)
    for offset, size in accesses:
        page.read(offset, size)
    assert repr(page) == before
