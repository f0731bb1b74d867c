"""Round robin: whoever waited longest runs next, for at most one slice while others wait.

The plainest fair policy, and the measure for the others (Silberschatz et al., "Operating System
Concepts", on CPU scheduling). It knows affinity and nothing else: a weight, a cap or a reservation
is accepted and makes no difference. Who sleeps often is at a disadvantage: after each sleep it
queues behind everybody.
"""

from collections.abc import Hashable
from typing import TypeVar

from policies.base import Account, QueuePolicy
from policies.parameters import Parameters

T = TypeVar("T", bound=Hashable)


class RoundRobin(QueuePolicy[T, Account[T]]):
    """One queue for all pCPUs, first come, first served."""

    name = "round_robin"

    def _open(self, task: T, parameters: Parameters, mask: int) -> Account[T]:
        return Account(task, parameters, mask)

    def _due(self, waiter: Account[T], runner: Account[T]) -> int:
        return runner.since + self.slice_ns
