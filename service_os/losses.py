"""Output that a console could not put out, told to the operator.

A console has no way to tell its guest, and a guest prints often: whoever runs it gets one line when
output is lost first, and one when it works again, however often that changes.
"""

import sys

from drivers.interface import MediumError


class Losses:
    """What was told about one console; `name` is `guest/device`. For one thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._losing = False
        self._recovered = False

    def failed(self, error: MediumError) -> None:
        """Output was lost."""
        if not self._losing:
            self._losing = True
            self._tell(f"is lost: {error}")

    def worked(self) -> None:
        """Output was put out."""
        if self._losing and not self._recovered:
            self._recovered = True
            self._tell("works again")

    def _tell(self, what: str) -> None:
        print(f"console output of {self._name} {what}", file=sys.stderr, flush=True)
