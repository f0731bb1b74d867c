"""More that the simulator can be asked to look at: how things are published, released and typed.

The simulator steps from one message to the next, which is too coarse for what happens within one;
and some promises need more than the guest to see. These judges look on from outside.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.virtio.virtqueue import Virtqueue
from service_os.models.console import RECEIVEQ, STATE
from tests.simulation.calls import ReleaseCall
from tests.simulation.consoleguest import WORD, ConsoleGuest
from tests.simulation.line import Line
from tests.simulation.service import Stream
from tests.simulation.violation import check
from tests.simulation.world import World


@contextmanager
def judges() -> Iterator[None]:
    """With all of them."""
    wrappers: list[tuple[Any, str, Callable[..., Any]]] = [
        (Virtqueue, "enable", _enable),
        (VirtioDevice, "_finish", _finish),
        (VirtioDevice, "accept", _accept),
        (ConsoleGuest, "_receive", _receive),
        (ConsoleGuest, "dropped", _dropped),
        (Stream, "type", _typed),
        (Line, "close", _closed),
        (ReleaseCall, "done", _released),
        (Line, "say", _say),
        (World, "quiesce", _quiesce),
    ]
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in wrappers]
    try:
        for owner, name, make in wrappers:
            setattr(owner, name, make(getattr(owner, name)))
        yield
    finally:
        for owner, name, original in before:
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


class _Watched:
    """The used ring, whose index a guest may poll: what it finds when the index moves."""

    def __init__(self, ring: memoryview, elements: memoryview) -> None:
        self.look: Callable[[memoryview], None] | None = None
        self._ring = ring
        self._elements = elements

    def __getitem__(self, at: int) -> int:
        return int(self._ring[at])

    def __setitem__(self, at: int, value: int) -> None:
        self._ring[at] = value
        if at == 1 and self.look:
            self.look(self._elements)


def _enable(enable):
    def watched(queue, *rings):
        enable(queue, *rings)
        queue._used = _Watched(queue._used, queue._elements)

    return watched


def _finish(finish):
    """What is published does not change any more: neither data nor elements."""

    def watched(device, done, window):
        ram, name = device.memory.view, device.config.name
        pieces = [piece for entry, _ in done for piece in entry.writable]
        rings = [queue._used for queue in device._queues if queue.enabled]
        found = []

        def look(elements):
            found.append((elements, elements.tobytes(), [bytes(ram[a : a + n]) for a, n in pieces]))

        for ring in rings:
            ring.look = look
        wanted = finish(device, done, window)
        for ring in rings:
            ring.look = None
        for elements, ring_then, data_then in found:
            now = [bytes(ram[at : at + length]) for at, length in pieces]
            check(data_then == now, f"{name}: data changed after it was published")
            same = ring_then == elements.tobytes()
            check(same, f"{name}: the used ring changed after it was published")
        return wanted

    return watched


def _accept(accept):
    """Input that is in the state of a console is the guest's, whoever dies."""

    def watched(device, message, epoch, window):
        done = accept(device, message, epoch, window)
        if device.config.model == "console" and device.log.settled:
            kept = device.__dict__.setdefault("kept", set())
            words = device.state[STATE.size :]
            kept.update(words[at : at + WORD] for at in range(0, len(words), WORD))
        return done

    return watched


def _receive(receive):
    def watched(guest, area, written, size):
        heard = guest.heard
        receive(guest, area, written, size)
        kept = guest.driver.device.__dict__.get("kept", set())
        got = {bytes(area.view[at : at + WORD]) for at in range(0, written, WORD)}
        for data in kept:
            number = int.from_bytes(data, "little") ^ 0x80000000
            lost = heard < number <= guest.heard and data not in got
            check(not lost, f"input: word {number} was kept, and is lost")

    return watched


def _typed(typed):
    """Nor is input lost that an incarnation has fetched which ends in order."""

    def watched(stream, data):
        taken = typed(stream, data)
        reset = stream.__dict__.get("reset")
        if taken and (reset is None or reset.log.settled):
            stream.__dict__.setdefault("fetched", set()).add(data)
        return taken

    return watched


def _closed(close):
    def watched(line, *why, **more):
        in_order = line.ending and not (line.stream.broken or line.process.killed)
        if in_order and not line.over:
            kept = line.port.served.__dict__.setdefault("kept", set())
            kept.update(line.stream.__dict__.get("fetched", ()))
        close(line, *why, **more)

    return watched


def _dropped(dropped):
    """But for what a reset takes back."""

    def watched(guest):
        dropped(guest)
        device = guest.driver.device
        device.__dict__.pop("kept", None)
        active = device.ring.__self__.active
        if active is not None:
            active.stream.__dict__.pop("fetched", None)
            active.stream.__dict__["reset"] = device  # which takes input until all know of it

    return watched


def _released(done):
    """A service OS that is released has nothing in flight."""

    def watched(call):
        before = call._ending
        result = done(call)
        if call._ending and not before:
            for line in call.lines:
                served = line.port.served
                owes = served._owes() and not line.over
                check(not owes, f"{line.port.key} is released with requests in flight")
        return result

    return watched


def _say(say):
    def watched(line):
        held = line.port.served.held
        said = say(line)
        if said == "batch" and not line.stream.broken:
            new = not line.stream.inbox[-1].batch.replay
            check(not (held and new), f"{line.port.key}: something new while it is released")
        return said

    return watched


def _quiesce(quiesce):
    """A guest that waits for input gets what is typed."""

    def watched(world):
        quiesce(world)
        if world.terminal.driver.out[RECEIVEQ]:
            if world.type() is None:
                world._fail("input: a buffer is out, and nobody takes what is typed")
            quiesce(world)
            if world.terminal.heard != world.typed - 1:
                world._fail(f"input: word {world.typed - 1} was typed, and is not heard")

    return watched
