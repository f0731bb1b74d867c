"""The three kinds of failure, kept apart, and nothing else crosses the core's boundary.

A bug of ours is any other exception. A guest's fault never raises out of the code that found it:
the device goes to NEEDS_RESET or the guest ends.
"""

from enum import Enum, auto


class Refusal(Enum):
    """Why a peer's request cannot be met; see core.proto for the status of each."""

    INVALID = auto()
    NOT_FOUND = auto()
    EXISTS = auto()
    WRONG_STATE = auto()
    NOT_CONNECTED = auto()
    TOO_LATE = auto()


class GuestFault(Exception):
    """The guest broke the rules of virtio or of the machine."""


class PeerFault(Exception):
    """A service OS or the launcher asked for what cannot be, or answered nonsense."""

    def __init__(self, text: str, refusal: Refusal = Refusal.INVALID) -> None:
        super().__init__(text)
        self.refusal = refusal


class EnvironmentFault(Exception):
    """The host refuses: no permission, no memory, no such file. One line, with the cure."""
