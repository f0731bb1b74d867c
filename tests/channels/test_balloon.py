"""A balloon behind the real directory, session and transport, and a driver that works its rings."""

import queue
import random
import struct
import threading

import pytest

from channels.balloon import FEATURES, MINIMUM, MOST, PIECE
from microhypervisor.devices.port_device import PortDevice
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault
from microhypervisor.events import EventLog
from microhypervisor.limits import EVENT_BURST
from microhypervisor.memory.ram import PAGE, GuestMemory, RegionKind, lay_out
from microhypervisor.virtio import constants as v
from protos import core_pb2 as pb
from sessions.directory import ServiceDirectory
from tests.microhypervisor.conftest import HIGH_RAM, LOW_RAM, ROM
from tests.sessions.service import PATIENCE, Rig, Served, eventually

RAM = LOW_RAM + (1 << 20)
INFLATE, DEFLATE = 0, 1
REQUEST = 0x40000  # where the driver writes page numbers
FIRST = 0x100  # a page that nothing of the test uses, and so are those after it


def config(**fields):
    return pb.DeviceConfig(**{"name": "balloon0", "model": "balloon", **fields})


class Driver(Rig):
    """A guest's device with its driver, added as the core adds it."""

    def __init__(self, memory):
        self.memory = memory
        self.notices = []
        self.rings = []
        Served.__init__(self, VirtioDevice("g", config(), memory, self.notices.append))
        self.happened = queue.SimpleQueue()
        events = EventLog()
        watch = events.watch(lambda: False)
        self.watcher = threading.Thread(target=lambda: [self.happened.put(e) for e in watch])
        self.watcher.start()
        self.events = events
        self.directory = ServiceDirectory(events)
        self.directory.add(self.device)
        self.balloon = self.directory.resident("g", "balloon")
        self.start()

    def start(self, features=FEATURES, size=8, queues=2):
        super().start(features, size, queues)
        while not self.pulses.empty():  # interrupts of the time before
            self.pulses.get()

    def offer(self, queue, payload):
        """A request of these bytes, or page numbers, without waiting for its answer."""
        if not isinstance(payload, bytes):
            payload = struct.pack(f"<{len(payload)}I", *payload)
        self.poke(REQUEST, payload)
        ring = self.rings[queue]
        ring.describe(0, REQUEST, len(payload))
        ring.offer(0)
        self.write(v.QUEUE_NOTIFY, queue)

    def give(self, *pages, queue=INFLATE):
        self.offer(queue, pages)
        assert self.done(queue) == [0]

    def take(self, *pages):
        self.give(*pages, queue=DEFLATE)

    def fill(self, *pages):
        for page in pages:
            self.poke(page * PAGE, bytes([page % 255 + 1]) * PAGE)

    def page(self, number):
        """The one value of all bytes of a page."""
        (value,) = set(self.peek(number * PAGE, PAGE))
        return value

    def asked(self):
        """num_pages and actual, as the driver reads them."""
        return self.read(v.CONFIG), self.read(v.CONFIG + 4)

    def event(self, kind=pb.EVENT_BALLOON_CHANGED):
        while (event := self.happened.get(timeout=PATIENCE)).kind != kind:
            pass
        return event

    def close(self):
        self.directory.remove(self.device)
        self.events.close()
        self.watcher.join()
        super().close()


@pytest.fixture
def driver(memory):
    driver = Driver(memory)
    yield driver
    driver.close()


def test_the_device_is_a_traditional_balloon_that_is_asked_for_nothing(driver):
    assert driver.read(v.DEVICE_ID) == 5
    assert driver.asked() == (0, 0)
    assert driver.read(v.CONFIG + 8) == 0
    assert (driver.balloon.target, driver.balloon.actual) == (RAM, RAM)
    assert driver.device.queue_count == 2
    assert driver.directory.epoch_of(driver.device) == 1
    assert driver.directory.resident("h", "balloon") is None


def test_a_guest_that_reaches_its_target_again_and_again_is_told_of_now_and_then(driver):
    driver.balloon.set_target(RAM - PAGE)
    assert driver.interrupted() == v.INT_CONFIG
    for _ in range(2 * EVENT_BURST):
        driver.give(FIRST)
        driver.take(FIRST)
    driver.balloon.set_target(RAM)
    told = [driver.event().text]
    while told.count("asked") < 2:
        told.append(driver.event().text)
    assert EVENT_BURST <= told.count("reached") < 2 * EVENT_BURST


def test_a_target_interrupts_the_driver_and_is_reached_when_the_pages_are_there(driver):
    generation = driver.read(v.CONFIG_GENERATION)
    driver.balloon.set_target(RAM - 3 * PAGE)
    assert driver.interrupted() == v.INT_CONFIG
    assert driver.asked() == (3, 0)
    assert driver.read(v.CONFIG_GENERATION) != generation
    event = driver.event()
    assert (event.guest, event.device) == ("g", "balloon0")
    assert (event.text, event.count) == ("asked", RAM - 3 * PAGE)
    driver.give(FIRST, FIRST + 1)
    assert driver.balloon.actual == RAM - 2 * PAGE
    assert driver.happened.empty()
    driver.give(FIRST + 7)
    assert driver.balloon.actual == driver.balloon.target == RAM - 3 * PAGE
    event = driver.event()
    assert (event.text, event.count) == ("reached", RAM - 3 * PAGE)


def test_the_host_gets_the_pages_and_the_guest_finds_zeros_when_it_has_them_again(driver):
    pages = range(FIRST, FIRST + 64)
    driver.fill(*pages)
    driver.give(FIRST + 99)  # now all that a request needs is there
    driver.take(FIRST + 99)
    before = driver.memory.resident()
    driver.give(*pages[:32])
    assert driver.memory.resident() == before - 32 * PAGE
    assert [driver.page(n) for n in pages[32:]] == [n % 255 + 1 for n in pages[32:]]
    driver.take(*pages[:32])
    assert driver.balloon.actual == RAM
    assert [driver.page(n) for n in pages[:32]] == [0] * 32
    driver.fill(*pages[:32])
    assert [driver.page(n) for n in pages] == [n % 255 + 1 for n in pages]


def test_what_the_driver_says_it_gave_is_not_believed(driver):
    driver.give(FIRST)
    driver.device.mmio_write(v.CONFIG + 4, 4, 1000)
    driver.device.mmio_write(v.CONFIG, 4, 1000)
    driver.give(FIRST + 1)
    assert driver.asked() == (0, 2)
    assert driver.balloon.actual == RAM - 2 * PAGE


def test_what_was_counted_is_there_to_read_once_the_request_is_done(driver):
    generation = driver.read(v.CONFIG_GENERATION)
    driver.give(FIRST)
    assert driver.asked() == (0, 1)
    assert driver.read(v.CONFIG_GENERATION) != generation
    driver.take(FIRST)
    assert driver.asked() == (0, 0)
    assert driver.pulses.empty()  # no interrupt but those of the requests


def test_a_page_counts_once_however_often_it_is_given_or_taken(driver):
    driver.give(FIRST, FIRST, FIRST + 1)
    driver.give(FIRST + 1, FIRST)
    assert driver.balloon.actual == RAM - 2 * PAGE
    driver.take(FIRST)
    driver.take(FIRST, FIRST + 9)
    assert driver.balloon.actual == RAM - PAGE


def test_pages_that_are_not_ram_of_this_guest_count_for_nothing(driver):
    rom = ROM // PAGE
    outside = [LOW_RAM // PAGE, rom, (HIGH_RAM + (1 << 20)) // PAGE, 0xFFFFFFFF]
    place = driver.memory.regions[1].offset
    driver.memory.view[place : place + PAGE] = b"r" * PAGE
    driver.give(*outside)
    assert driver.balloon.actual == RAM
    assert driver.memory.view[place : place + PAGE] == b"r" * PAGE
    driver.give(LOW_RAM // PAGE - 1, *outside, HIGH_RAM // PAGE)  # the last and the first of RAM
    assert driver.balloon.actual == RAM - 2 * PAGE


@pytest.mark.parametrize("payload", [b"\0", b"\0\1\0", struct.pack("<I", FIRST) + b"\1\1\0"])
def test_bytes_that_make_no_whole_number_count_for_nothing(driver, payload):
    driver.fill(FIRST)
    driver.offer(INFLATE, payload)
    assert driver.done(INFLATE) == [0]
    assert driver.balloon.actual == RAM - (len(payload) // 4) * PAGE


def test_a_request_that_only_wants_to_be_written_is_answered_with_nothing(driver):
    driver.rings[INFLATE].describe(0, REQUEST, 64, v.DESC_WRITE)
    driver.rings[INFLATE].offer(0)
    driver.write(v.QUEUE_NOTIFY, INFLATE)
    assert driver.interrupted() == v.INT_VRING
    assert driver.rings[INFLATE].take() == [(0, 0)]
    assert driver.balloon.actual == RAM


def test_regions_side_by_side_are_served_page_by_page():
    memory = GuestMemory("g", lay_out([(RegionKind.RAM, n * LOW_RAM, LOW_RAM) for n in range(2)]))
    driver = Driver(memory)
    border = LOW_RAM // PAGE
    driver.fill(border - 1, border)
    driver.give(border - 1, border)
    assert (driver.page(border - 1), driver.page(border)) == (0, 0)
    assert driver.balloon.actual == 2 * LOW_RAM - 2 * PAGE
    driver.close()
    memory.close()


def test_any_course_of_requests_leaves_what_a_set_of_pages_says(driver):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    given = set()
    everything = range(FIRST, FIRST + 200)
    driver.fill(*everything)
    kept = set(everything)  # whose contents must not have changed
    for _ in range(150):
        start = chance.randrange(200)
        pages = [*everything[start : start + chance.randrange(40)], *chance.choices(everything)]
        chance.shuffle(pages)
        if chance.random() < 0.6:
            driver.give(*pages)
            given.update(pages)
            kept.difference_update(pages)
        else:
            driver.take(*pages)
            given.difference_update(pages)
        assert driver.balloon.actual == RAM - len(given) * PAGE
    for page in everything:
        assert driver.page(page) == (page % 255 + 1 if page in kept else 0)


@pytest.mark.parametrize(
    "target", [0, PAGE, MINIMUM - PAGE, MINIMUM + 1, RAM - 1, RAM + PAGE, 1 << 63]
)
def test_a_target_that_cannot_be_is_refused_and_changes_nothing(driver, target):
    with pytest.raises(PeerFault, match=f"^guest g cannot keep {target} bytes: give a multiple"):
        driver.balloon.set_target(target)
    assert driver.asked() == (0, 0)
    assert (driver.balloon.target, driver.pulses.empty()) == (RAM, True)


@pytest.mark.parametrize("target", [MINIMUM, RAM])
def test_the_smallest_and_the_largest_target_are_possible(driver, target):
    driver.balloon.set_target(target)
    assert driver.asked() == ((RAM - target) // PAGE, 0)


def test_a_reset_empties_the_balloon_and_the_next_driver_is_asked_anew(driver):
    driver.balloon.set_target(RAM - 2 * PAGE)
    driver.interrupted()
    driver.give(FIRST, FIRST + 1)
    driver.start()
    eventually(lambda: driver.balloon.actual == RAM)
    driver.give(FIRST + 5)
    assert driver.asked() == (2, 1)
    assert driver.balloon.actual == RAM - PAGE


def test_pages_are_not_taken_for_a_request_that_a_reset_has_made_void(driver):
    driver.fill(FIRST)
    driver.give(FIRST + 1)  # the session has nothing to do now
    with driver.balloon._lock:  # the request is on its way when the guest resets the device
        driver.offer(INFLATE, [FIRST])
        eventually(lambda: len(driver.device.log) == 1)
        driver.write(v.STATUS, 0)
    driver.start()
    driver.give(FIRST + 2)
    assert driver.page(FIRST) == FIRST % 255 + 1
    assert driver.balloon.actual == RAM - PAGE


class Yielding:
    """A lock, and what happens once when it is free again."""

    def __init__(self, then):
        self.lock, self.then = threading.Lock(), then

    def __enter__(self):
        self.lock.acquire()

    def __exit__(self, *_):
        self.lock.release()
        then, self.then = self.then, None
        if then:
            then()


def test_a_long_request_is_taken_in_pieces(driver):
    driver.give(FIRST + 9)  # what it showed at its start has been shown
    generation = driver.read(v.CONFIG_GENERATION)
    driver.give(*[FIRST, FIRST + 1] * PIECE, FIRST + 2)
    assert driver.read(v.CONFIG_GENERATION) == generation + 3
    assert driver.balloon.actual == RAM - 4 * PAGE


def test_a_reset_between_two_pieces_of_a_request_keeps_the_pages_of_the_second(driver):
    driver.fill(FIRST, FIRST + 1)
    driver.give(FIRST + 9)  # the session has nothing to do now
    driver.balloon._lock = Yielding(lambda: driver.write(v.STATUS, 0))
    driver.offer(INFLATE, [FIRST] * PIECE + [FIRST + 1])
    eventually(lambda: driver.balloon._lock.then is None)
    driver.start()
    driver.give(FIRST + 2)
    assert (driver.page(FIRST), driver.page(FIRST + 1)) == (0, (FIRST + 1) % 255 + 1)
    assert driver.balloon.actual == RAM - PAGE


def test_what_a_request_names_beyond_any_driver_counts_for_nothing(driver):
    driver.fill(FIRST, FIRST + 1, FIRST + 2)
    driver.give(*[FIRST] * (MOST - 1), FIRST + 1, FIRST + 2)
    assert driver.balloon.actual == RAM - 2 * PAGE
    assert (driver.page(FIRST + 1), driver.page(FIRST + 2)) == (0, (FIRST + 2) % 255 + 1)


def test_a_guest_that_gives_its_own_rings_away_stops_its_device_alone(driver):
    other = GuestMemory("h", lay_out([(RegionKind.RAM, 0, LOW_RAM)]))
    other.view[:] = b"h" * LOW_RAM
    ring = driver.rings[INFLATE]
    driver.give(FIRST)
    driver.offer(INFLATE, [n // PAGE for n in range(ring.desc, ring.end, PAGE)])
    eventually(lambda: driver.read(v.STATUS) & v.NEEDS_RESET)
    assert "available index" in driver.notices[0]  # it has jumped back to zero
    driver.start()
    driver.give(FIRST)
    eventually(lambda: driver.balloon.actual == RAM - PAGE)
    assert other.view == b"h" * LOW_RAM
    other.close()


def test_all_of_the_ram_may_be_given_away(driver):
    everything = [*range(LOW_RAM // PAGE), *range(HIGH_RAM // PAGE, (HIGH_RAM + (1 << 20)) // PAGE)]
    driver.fill(*everything[FIRST:])
    driver.offer(INFLATE, everything)
    eventually(lambda: driver.read(v.STATUS) & v.NEEDS_RESET)  # the rings are gone as well
    assert driver.balloon.actual == 0
    assert driver.memory.resident() <= 4 * PAGE  # what the answer went to
    driver.start()
    driver.give(FIRST)


def test_a_service_os_without_a_name_does_not_take_the_balloon(driver):
    endpoint = pb.ServiceEndpoint(epoch=7, address="/nonexistent", grant_address="/nonexistent")
    with pytest.raises(PeerFault, match="needs a name"):
        driver.directory.connect(endpoint)
    driver.give(FIRST)
    assert driver.directory.epoch_of(driver.device) == 1


@pytest.mark.parametrize("fields", [{"model": "block"}, {"ports": pb.PortRange(base=8, count=8)}])
def test_the_core_serves_nothing_else(memory, fields):
    kind = PortDevice if "ports" in fields else VirtioDevice
    device = kind("g", config(**fields), memory, lambda _: None)
    directory = ServiceDirectory(EventLog())
    with pytest.raises(
        PeerFault,
        match=r"^device balloon0: (the core itself serves no block|a balloon has no ports)",
    ):
        directory.add(device)
    assert directory.resident("g", "balloon") is None
    device.close()


def test_a_removed_balloon_leaves_no_thread_and_takes_nothing_more(driver):
    before = threading.active_count()
    driver.directory.remove(driver.device)
    assert threading.active_count() == before - 1
    assert driver.directory.resident("g", "balloon") is None
    driver.fill(FIRST)
    driver.offer(INFLATE, [FIRST])
    assert driver.page(FIRST) == FIRST % 255 + 1
