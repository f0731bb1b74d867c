"""Exit statuses of `splitvisor run` and `up`, as their help texts promise them."""

import signal

from protos import core_pb2 as core

MISTAKE = 2  # the user's: wrong option, file or name
GUEST_FAULT = 125
MACHINE_FAILED = 126
INTERRUPTED = 128 + signal.SIGINT
STOPPED = 128 + signal.SIGTERM
LARGEST = 255


def of_guest(status: core.GuestStatus) -> int:
    """The exit status that tells how a guest ended."""
    if status.end_reason == core.END_EXIT:
        return min(status.exit_status, LARGEST)
    if status.end_reason in (core.END_POWER_OFF, core.END_RESET):
        return 0
    return STOPPED if status.end_reason == core.END_STOPPED else GUEST_FAULT


def of_end(reason: str) -> int:
    """The exit status for what ended a machine from outside: a signal's name, or `stopped`."""
    return STOPPED if reason == "stopped" else 128 + signal.Signals[reason]


def fault_text(status: core.GuestStatus) -> str:
    """Name, reason and registers of a guest that a fault ended; empty for any other."""
    if of_guest(status) != GUEST_FAULT or status.end_reason == core.END_EXIT:
        return ""
    reasons = {core.END_TRIPLE_FAULT: "triple fault", core.END_CPU_FAILURE: "CPU failure"}
    line = f"splitvisor: guest {status.name} ended by {reasons.get(status.end_reason, 'a fault')}"
    return f"{line}\n{status.report.rstrip()}".rstrip()
