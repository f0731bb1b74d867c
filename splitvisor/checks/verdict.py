"""What a check has found: how much was looked at, how much of it is wrong, and the first few."""

from dataclasses import dataclass, field

_PROBLEMS_KEPT = 5


@dataclass(slots=True)
class Verdict:
    """`problems` holds the first few."""

    checked: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether nothing is wrong."""
        return self.wrong == 0

    def add(self, problem: str) -> None:
        """One more thing is wrong."""
        self.wrong += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(problem)
