"""The states of a service OS as a whole.

    STARTING ──▶ PROMOTING ──▶ REPLAYING ──▶ SERVING ──▶ RELEASING
       ▲  ▲          │             │            │            │
       │  │          └─────────────┴─────┬──────┴────────────┘
       │  │   lost, or released          ▼
       │  └───────────────────────── FENCING
       └────── BACKING_OFF ◀───────────┘

and beside it the standby: NONE, STARTING, PREPARING, READY, and NONE again when it is lost or
takes over. A standby that is READY when the fence is up goes straight to PROMOTING.
"""

from enum import StrEnum


class State(StrEnum):
    """Of the service OS as a whole."""

    STARTING = "starting"  # the one that is to serve is not ready yet
    PROMOTING = "promoting"  # the core was told to begin with it
    REPLAYING = "replaying"  # it serves; what was in flight is being done again
    SERVING = "serving"
    RELEASING = "releasing"  # an upgrade: it finishes what it has
    FENCING = "fencing"  # killed, not reaped yet
    BACKING_OFF = "backing off"


SERVES = (State.REPLAYING, State.SERVING, State.RELEASING)
SETTLED = (State.REPLAYING, State.SERVING)  # it serves and is to go on
