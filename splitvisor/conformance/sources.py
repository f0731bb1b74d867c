"""What is demanded of a source of entropy."""

import time

from drivers.filter import begin
from splitvisor.conformance.contract import InapplicableError, check, demand
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.usage import portion_of
from splitvisor.conformance.victims import Victim, die

AMOUNT = 1 << 20  # bytes of each incarnation
SECONDS = 4.0  # after which a slow one need not go on
BLOCK = 16  # bytes that do not come twice by chance


@check("entropy")
def says_what_it_is(subject: Subject) -> None:
    """`portion`, if there is one, is a positive number of bytes, and the methods are there."""
    with subject.serving() as source:
        portion = portion_of(source)
        demand(type(portion) is int and portion > 0, f"portion {portion!r} is no number of bytes")
        for method in ("fill", "close"):
            demand(callable(getattr(source, method, None)), f"there is no method {method}")


@check("entropy")
def fills_all(subject: Subject) -> None:
    """Each byte that was asked for is filled, and none beside them."""
    with subject.serving() as source:
        for length in (1, 7, 64, 4096, 65536):
            length = min(length, portion_of(source))  # noqa: PLW2901
            filled = bytearray(length)  # of bytes that were ever other than 0
            for _ in range(12):  # a byte is 0 in all by chance once in 2^96
                into = bytearray(length + 2)
                source.fill(memoryview(into)[1:-1])
                demand(into[0] == into[-1] == 0, f"a fill of {length} bytes writes beside them")
                filled = bytearray(a | b for a, b in zip(filled, into[1:-1], strict=True))
            demand(all(filled), f"a fill of {length} bytes leaves some as they were")


@check("entropy")
def never_repeats(subject: Subject) -> None:
    """No 16 bytes come twice, in an incarnation, in the next, or in one that follows a death."""

    def serve(victim: Victim) -> None:
        source = subject.open()
        begin(source)
        until = time.monotonic() + SECONDS
        for _ in range(AMOUNT // 4096):
            into = bytearray(min(4096, portion_of(source)))
            source.fill(memoryview(into))
            victim.say(bytes(into))
            if time.monotonic() > until:
                break
        die()

    seen: set[bytes] = set()
    blocks = 0
    for _ in range(2):
        victim = Victim(serve)
        given = victim.rest()
        victim.wait()
        whole = len(given) - len(given) % BLOCK
        seen.update(given[at : at + BLOCK] for at in range(0, whole, BLOCK))
        blocks += whole // BLOCK
    if not blocks:
        raise InapplicableError("it gave less than 16 bytes in some seconds")
    demand(
        len(seen) == blocks, f"{blocks - len(seen)} of {blocks} blocks of 16 bytes were repeated"
    )
