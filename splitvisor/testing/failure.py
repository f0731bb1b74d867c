"""What went wrong with a machine in a test, in one line."""


class MachineFailure(AssertionError):
    """The machine did not do what was waited for, or refused what was asked."""
