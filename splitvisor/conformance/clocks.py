"""What is demanded of a clock."""

import math

from splitvisor.conformance.contract import check, demand
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.victims import apart

YEAR_9999 = 253_402_300_800.0  # seconds since 1970; calendars of guests end there
BACK = 1.0  # seconds that a host's clock may be set back meanwhile


@check("clock")
def tells_a_time(subject: Subject) -> None:
    """`now` is a float, between 1970 and 9999, and does not run backwards."""
    with subject.serving() as clock:
        latest = -math.inf
        for _ in range(1000):
            now = clock.now()
            demand(isinstance(now, float), f"now() is {now!r}, not a float")
            demand(0 <= now < YEAR_9999, f"now() is {now!r}, which no calendar has")
            demand(now >= latest - BACK, f"it went back from {latest!r} to {now!r}")
            latest = max(now, latest)


@check("clock")
def goes_on_in_the_next_incarnation(subject: Subject) -> None:
    """The next incarnation does not begin before where the last one was."""

    def read() -> bytes:
        with subject.serving() as clock:
            return repr(clock.now()).encode()

    last = float(apart(read))
    for _ in range(3):
        now = float(apart(read))
        demand(now >= last - BACK, f"it went back from {last!r} to {now!r} by a restart")
        last = now
