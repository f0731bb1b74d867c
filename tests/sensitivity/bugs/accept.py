"""Mistakes in what the core makes of a completion."""

from tests.sensitivity.checkers import Simulator
from tests.sensitivity.plant import Bug, Edit
from tests.sensitivity.symptoms import ANYTHING, LENGTH, MISSING, REGISTERS, STATE

SERVED = "microhypervisor.devices.served"
ACCEPT = "ServedDevice.accept"
VIRTIO = "microhypervisor.devices.virtio_device"

BUGS = (
    Bug(
        "epoch-ignored",
        "what another epoch says is dropped: instead it is believed",
        (Edit(SERVED, ACCEPT, "if message.epoch != epoch:", "if False:"),),
        Simulator(),
        ANYTHING,
    ),
    Bug(
        "length-unchecked",
        "nothing longer than the buffer is taken: instead it is, and the guest is told so",
        (Edit(SERVED, ACCEPT, "completion.written > entry.writable_bytes", "False"),),
        Simulator(),
        f"{LENGTH}|{REGISTERS}",
    ),
    Bug(
        "overtaking-believed",
        "a completion that overtakes others shows that theirs are lost: instead it is believed",
        (Edit(SERVED, ACCEPT, "log.overtakes(entry)", "False"),),
        Simulator(90_000, (("lose", 6),)),
        f"{ANYTHING}|{MISSING}",
    ),
    Bug(
        "completion-doubled",
        "a request comes back once: instead twice",
        (
            Edit(
                VIRTIO,
                "VirtioDevice._finish",
                ".append((entry.head, written))",
                ".extend([(entry.head, written)] * (2 - self.log.answered % 2))",
            ),
        ),
        Simulator(),
        r"was completed though it is not out: twice",
    ),
    Bug(
        "completion-dropped",
        "a request that is done comes back: instead one of a hundred does not",
        (
            Edit(
                SERVED,
                ACCEPT,
                "done.append((entry, completion))",
                "log.answered % 100 and done.append((entry, completion))",
            ),
        ),
        Simulator(),
        MISSING,
    ),
    Bug(
        "completions-crossed",
        "each request gets its own answer: instead two in one message change places",
        (
            Edit(
                SERVED,
                ACCEPT,
                "status.completions += len(done)",
                "done = [(e, c) for (e, _), (_, c) in zip(done, done[::-1])]\n"
                "        status.completions += len(done)",
            ),
        ),
        Simulator(),
        ANYTHING,
    ),
    Bug(
        "interrupt-lost-after-replay",
        "the guest is interrupted for what was replayed: instead not the first time",
        (
            Edit(
                SERVED,
                "ServedDevice.begin_epoch",
                "self.served = True",
                "self.served = self.mute = True",
            ),
            Edit(
                SERVED,
                ACCEPT,
                "if interrupt or message.interrupt:",
                "muted = self.__dict__.pop('mute', False)\n"
                "        if (interrupt or message.interrupt) and not muted:",
            ),
        ),
        Simulator(),
        MISSING,
    ),
    Bug(
        "state-forgotten",
        "the core keeps the state of a device: instead the one with which it attached",
        (Edit(SERVED, ACCEPT, "self.state = message.state", "pass"),),
        Simulator(),
        STATE,
    ),
    Bug(
        "published-before-data",
        "data is there when the used ring says so: instead it is copied afterwards",
        (
            Edit(
                VIRTIO,
                "VirtioDevice._finish",
                "ram[at : at + len(part)] = part",
                "later.append((ram[at : at + len(part)], bytes(part)))",
            ),
            Edit(
                VIRTIO,
                "VirtioDevice._finish",
                "total = self.memory.view, 0",
                "total = self.memory.view, 0\n    later = []",
            ),
            Edit(
                VIRTIO,
                "VirtioDevice._finish",
                "    if wanted:",
                "    for place, data in later:\n        place[:] = data\n    if wanted:",
            ),
        ),
        Simulator(),
        r"data changed after it was published",
    ),
)
