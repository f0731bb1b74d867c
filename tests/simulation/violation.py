"""What the simulator finds, and what it has done when it finds nothing."""

from dataclasses import dataclass, field


class Violation(AssertionError):
    """A promise was broken. The text says which; the rest says how to see it again."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.seed = 0  # of the world in which it happened
        self.steps = 0  # that the world was given
        self.step = 0
        self.transcript: list[str] = []

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Report:
    """Counts of a run without a violation."""

    steps: int = 0
    worlds: int = 0
    seconds: float = 0.0  # of CPU time
    counts: dict[str, int] = field(default_factory=dict)  # of what happened, by name

    def add(self, name: str, count: int = 1) -> None:
        """Count something."""
        self.counts[name] = self.counts.get(name, 0) + count


def check(holds: object, text: str) -> None:
    """Violation unless it holds."""
    if not holds:
        raise Violation(text)
