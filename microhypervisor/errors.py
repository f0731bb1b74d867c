"""The three kinds of failure, kept apart, and nothing else crosses the core's boundary.

A bug of ours is any other exception. A guest's fault never raises out of the code that found it:
the device goes to NEEDS_RESET or the guest ends.
"""


class GuestFault(Exception):
    """The guest broke the rules of virtio or of the machine."""


class PeerFault(Exception):
    """A service OS or the launcher asked for what can never work, or answered nonsense."""


class EnvironmentFault(Exception):
    """The host refuses: no permission, no memory, no such file. One line, with the cure."""
