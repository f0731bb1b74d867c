"""What a device does while nobody serves it, as people write it: `hold`, `error after 2s`.

An outage of some milliseconds is what any death costs, and nobody notices. The words are about
longer ones: a service OS that dies again and again, or a device that its service OS cannot open.
"""

import re

from drivers.options import nearest
from splitvisor.errors import UserError
from splitvisor.machine import OutagePolicy, WhenOut
from splitvisor.units import parse_duration

_POLICY = re.compile(r"(\S+)(?:\s+after\s+(.+))?", re.ASCII)


def parse_outage(text: str) -> OutagePolicy:
    """The policy in `text`: `hold`, or `pause` or `error` and from when on; else UserError.

    Without `after` a guest is paused, or requests fail, as soon as the outage is noticed.
    """
    match = _POLICY.fullmatch(text.strip())
    words = [choice.value for choice in WhenOut]
    if match is None or match[1] not in words:
        hint = nearest(match[1] if match else text, words)
        raise UserError(f"{text!r} is no outage policy{hint}: write it like 'error after 2s'")
    action = WhenOut(match[1])
    if match[2] is None:
        return OutagePolicy(action)
    if action is WhenOut.HOLD:
        raise UserError(f"{text!r}: a guest is held for as long as it takes: leave 'after' out")
    return OutagePolicy(action, parse_duration(match[2]))
