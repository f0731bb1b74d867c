"""Entropy that was collected: nothing twice, and no zeros.

Of 64-bit words that are really random, a million have a repeat among them once in some forty
million times (the birthday bound), so a repeat is a fault.
"""

from collections.abc import Iterable

from splitvisor.checks.verdict import Verdict

WORD = 8


def check_entropy(values: Iterable[bytes]) -> Verdict:
    """Check every whole 8-byte word of all `values` against all before."""
    verdict = Verdict()
    seen: dict[bytes, int] = {}
    for number, value in enumerate(values):
        for at in range(0, len(value) - WORD + 1, WORD):
            word = value[at : at + WORD]
            verdict.checked += 1
            if not any(word):
                verdict.add(f"value {number}: zeros at byte {at}")
            elif (before := seen.setdefault(word, number)) != number or word in value[:at]:
                verdict.add(f"value {number}: {word.hex()} at byte {at}, as in value {before}")
    return verdict
