"""All planted bugs, by the part of recovery that they are in."""

from tests.sensitivity.bugs import (
    accept,
    dialogue,
    drivers,
    folder,
    inflight,
    keeping,
    layers,
    models,
    net,
    recovery,
    rings,
    swapping,
)
from tests.sensitivity.plant import Bug

BUGS: tuple[Bug, ...] = (
    *inflight.BUGS,
    *accept.BUGS,
    *rings.BUGS,
    *dialogue.BUGS,
    *models.BUGS,
    *recovery.BUGS,
    *drivers.BUGS,
    *keeping.BUGS,
    *net.BUGS,
    *folder.BUGS,
    *swapping.BUGS,
    *layers.BUGS,
)


def find(name: str) -> Bug:
    """The bug of that name."""
    return next(bug for bug in BUGS if bug.name == name)
