"""An outage in words: its cause, how long each step took, what was replayed."""

from splitvisor.supervisor.outage import Outage


def outage_text(outage: Outage) -> str:
    """All of it in one line."""
    cause, what = ("upgrade", "pause") if outage.planned else (outage.cause, "outage")
    by = "a standby" if outage.warm else "a fresh start"
    return (
        f"{cause}: {what} of {outage.total_ms:.1f} ms ({steps_text(outage)}), "
        f"{outage.requests} requests replayed, by {by}"
    )


def steps_text(outage: Outage) -> str:
    """The steps with the time that each took, and when the first completion came.

    That is no step: it comes while there is still something to replay. How long it took to detect
    a death is only known of those that somebody ordered.
    """
    steps = outage.steps_ms()
    if not outage.killed:
        steps.pop("detect", None)
    words = [f"{step} {ms:.1f} ms" for step, ms in steps.items()]
    if outage.first_completion:
        words.append(f"first completion after {first_completion_ms(outage):.1f} ms")
    return ", ".join(words)


def first_completion_ms(outage: Outage) -> float:
    """From the beginning of the outage to the first request that is done again; 0: none was."""
    if not outage.first_completion:
        return 0.0
    return (outage.first_completion - (outage.killed or outage.detected)) / 1e6
