"""Output that a console or a network card could not put out, told to the operator.

Neither has a way to tell its guest, and a guest puts out often: whoever runs it gets one line when
output is lost first, and one when it works again, however often that changes.
"""

import sys

from drivers.interface import MediumError
from drivers.raised import one_line


class Losses:
    """What was told about one device; `name` is `guest/device`. For one thread."""

    def __init__(self, name: str, what: str = "console output") -> None:
        self._what = f"{what} of {name}"
        self._losing = False
        self._recovered = False

    def failed(self, error: MediumError) -> None:
        """Output was lost."""
        if not self._losing:
            self._losing = True
            self._tell(f"is lost: {one_line(str(error))}")

    def worked(self) -> None:
        """Output was put out."""
        if self._losing and not self._recovered:
            self._recovered = True
            self._tell("works again")

    def _tell(self, what: str) -> None:
        print(f"{self._what} {what}", file=sys.stderr, flush=True)
