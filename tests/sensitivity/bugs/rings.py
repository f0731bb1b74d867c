"""Mistakes in the virtqueue and the grant window."""

from tests.sensitivity.checkers import Simulator
from tests.sensitivity.plant import Bug, Edit
from tests.sensitivity.symptoms import DATA, LENGTH, OUTPUT, STATUS

QUEUE = "microhypervisor.virtio.virtqueue"
WINDOW = "microhypervisor.memory.window"
VIRTIO = "microhypervisor.devices.virtio_device"

BUGS = (
    Bug(
        "length-off-by-one",
        "the used ring says how much was written: instead one byte too few",
        (
            Edit(
                QUEUE,
                "Virtqueue.push",
                "elements[at + 1] = written",
                "elements[at + 1] = max(written - 1, 0)",
            ),
        ),
        Simulator(),
        LENGTH,
    ),
    Bug(
        "head-stays-out",
        "a head that came back may be used again: instead the device gives up",
        (
            Edit(
                QUEUE,
                "Virtqueue.push",
                "self._outstanding[head] = 0",
                "self._outstanding[head] = head == 4",
            ),
        ),
        Simulator(),
        r"the device gave up: .*is not a free descriptor",
    ),
    Bug(
        "index-before-element",
        "an element is there when the index says so: instead the index moves first",
        (
            Edit(
                QUEUE,
                "Virtqueue.push",
                "    old = index = self._next_used",
                "    old = index = self._next_used\n"
                "    self._used[1] = (index + len(used)) & 0xFFFF",
            ),
        ),
        Simulator(),
        r"the used ring changed after it was published",
    ),
    Bug(
        "window-not-cleared",
        "nobody sees what was in a buffer before: instead it is handed out",
        (
            Edit(
                WINDOW,
                "GrantWindow.offer",
                "view[at : at + writable_bytes] = self._zeros[:writable_bytes]",
                "pass",
            ),
        ),
        Simulator(90_000),
        f"{DATA}|{LENGTH}",
    ),
    Bug(
        "neighbours-payload",
        "a request is given its own payload: instead that of the slot beside it",
        (
            Edit(
                WINDOW,
                "GrantWindow.offer",
                "slot * self.stride",
                "(slot ^ 4) * self.stride",
            ),
        ),
        Simulator(),
        f"{DATA}|{OUTPUT}",
    ),
    Bug(
        "segment-dropped",
        "data that lies in pieces is one: instead only the first piece is filled",
        (
            Edit(
                VIRTIO,
                "VirtioDevice._finish",
                "if taken >= written:",
                "if taken:",
            ),
        ),
        Simulator(),
        f"{DATA}|{STATUS}",
    ),
    Bug(
        "header-read-again",
        "a guest cannot change a request that was taken: instead its header is read at replay",
        (
            Edit(
                VIRTIO,
                "VirtioDevice._split",
                "return bytes(ram[at : at + wanted]), segments[1:]",
                "return ram[at : at + wanted], segments[1:]",
            ),
            Edit(
                "sessions.dialogue",
                "Dialogue._add",
                "header=entry.header",
                "header=bytes(entry.header)",
            ),
        ),
        Simulator(),
        f"{DATA}|{STATUS}",
    ),
)
