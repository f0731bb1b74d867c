"""Mistakes in what the core says to an incarnation, and in what order."""

from tests.sensitivity.checkers import Simulator
from tests.sensitivity.plant import Bug, Edit
from tests.sensitivity.symptoms import DATA, EARLY, OUTPUT, STATE

DIALOGUE = "sessions.dialogue"

BUGS = (
    Bug(
        "new-before-replay",
        "nothing new before all is done again: instead it follows the replay at once",
        (Edit(DIALOGUE, "Dialogue._await_replayed", "while self._owed:", "while False:"),),
        Simulator(),
        EARLY,
    ),
    Bug(
        "payload-of-old-window",
        "replayed payload is put into the new window: instead it is taken to be there",
        (
            Edit(
                DIALOGUE,
                "Dialogue._add",
                "window.offer(slot",
                "batch.replay or window.offer(slot",
            ),
        ),
        Simulator(),
        f"{DATA}|{OUTPUT}",
    ),
    Bug(
        "reset-request-sent",
        "what a reset takes back is not sent: instead it is, with what is there by then",
        (
            Edit(
                DIALOGUE,
                "Dialogue._fill",
                "device.recall(entry)",
                "True",
            ),
        ),
        Simulator(90_000, (("reset", 8),)),
        f"{DATA}|{OUTPUT}",
    ),
    Bug(
        "state-withheld",
        "the next incarnation is given the device's state: instead it begins with none",
        (
            Edit(
                DIALOGUE,
                "Dialogue._say",
                "io_pb2.Begin(state=device.state)",
                "io_pb2.Begin()",
            ),
        ),
        Simulator(),
        STATE,
    ),
    Bug(
        "doubled-replay",
        "a request is replayed once: instead the last of a replay is sent twice",
        (
            Edit(
                DIALOGUE,
                "Dialogue._take_over",
                "return activation, entries",
                "return activation, entries + (entries[-1:] if self.window else [])",
            ),
        ),
        Simulator(),
        OUTPUT,
    ),
)
