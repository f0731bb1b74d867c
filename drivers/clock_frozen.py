"""A clock that stands still, so that what a guest does with the date is the same in each run."""

from dataclasses import dataclass
from datetime import UTC, datetime


class FrozenClock:
    """The driver `clock.frozen`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """When it is for ever, in whole seconds; UTC, or as in 2030-01-01T00:00:00+01:00."""

        at: str

        def __post_init__(self) -> None:
            seconds(self.at)

    def __init__(self, options: Options) -> None:
        self._now = seconds(options.at)

    def now(self) -> float:
        """See ClockDriver."""
        return self._now

    def close(self) -> None:
        """See Driver."""


def seconds(text: str) -> float:
    """Seconds since 1970 of a time as ISO 8601 has it; ValueError says what is wrong."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time such as 2030-01-01T00:00:00") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.replace(microsecond=0).timestamp()
