"""Why there is no standby though there is to be one, and how long to wait before the next.

One that cannot be had is tried for ever: whatever is wrong may be mended meanwhile. So that this
does not fill the screen, each reason is told once until one stands by.
"""

from splitvisor.supervisor.backoff import Backoff


class StandbyTrouble:
    """Of one service OS. `problem` is what became of the last one, empty while all is well."""

    def __init__(self) -> None:
        self.problem = ""
        self.repeated = False  # that problem was told before
        self._told: set[str] = set()
        self._backoff = Backoff()

    def over(self) -> None:
        """One stands by."""
        self.problem, self.repeated = "", False
        self._told.clear()

    def stood_long(self) -> None:
        """One that is lost now had stood by for long enough to be none of several in a row."""
        self._backoff.succeeded()

    def failed(self) -> int:
        """One is lost; nanoseconds to wait before the next is started."""
        return self._backoff.failed()

    def is_news(self, problem: str) -> bool:
        """Whether this is to be told."""
        return problem not in self._told

    def note(self, problem: str) -> None:
        """One is no more, for this reason."""
        self.problem, self.repeated = problem, problem in self._told
        self._told.add(problem)
