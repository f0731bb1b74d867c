"""Answers made wrong, each as a service OS with a bug might send it."""

import random
from collections.abc import Collection, Mapping

from protos import faults_pb2 as faults
from protos.io_pb2 import Completion, Request, ServiceMessage

NO_SLOT = 1 << 31  # beyond any queue
Key = tuple[int, int]  # slot and generation


def chosen(kind: int, seed: int, turn: int) -> int:
    """What SOME means at this turn; any other kind means itself."""
    if kind != faults.SOME:
        return kind
    kinds = sorted(set(faults.Garble.values()) - {faults.SOME})
    return random.Random(f"{seed}/{turn}").choice(kinds)


def garbled(
    reply: ServiceMessage,
    kind: int,
    keys: Collection[Key],
    requests: Mapping[Key, Request],
    attached: ServiceMessage,
) -> list[ServiceMessage]:
    """What is sent instead of `reply`, in which the answers to `keys` are to be wrong.

    `attached` is the message that a contract allows once.
    """
    if kind == faults.TWICE:
        return [reply, reply]
    if kind == faults.NONSENSE:
        return [attached, reply]
    wrong = ServiceMessage()
    wrong.CopyFrom(reply)
    if kind == faults.EPOCH:
        wrong.completions.epoch += 1
        return [wrong]
    for completion in wrong.completions.completions:
        key = completion.slot, completion.generation
        if key in keys:
            _spoil(completion, kind, requests[key].writable)
    return [wrong]


def _spoil(completion: Completion, kind: int, writable: int) -> None:
    if kind == faults.SLOT:
        completion.slot |= NO_SLOT
    elif kind == faults.GENERATION:
        completion.generation = completion.generation - 1 & 0xFFFFFFFF
    elif kind == faults.LENGTH:
        completion.written = writable + 1
        if completion.payload:
            completion.payload = completion.payload.ljust(completion.written, b"\xa5")
