"""The same world, its schedule drawn by Hypothesis, so that what it finds is small."""

from collections import deque

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from microhypervisor.inflight import InflightLog
from service_os import immediate
from tests.simulation import Report, Violation
from tests.simulation.faults import STEPS as FAULTS
from tests.simulation.guests import STEPS as GUESTS
from tests.simulation.progress import STEPS as PROGRESS
from tests.simulation.run import NEVER
from tests.simulation.world import World

CHOICES = st.binary(max_size=12)  # what is open in a step or some; 0 when there are no more


class Machine(RuleBasedStateMachine):
    """At most so many steps, then peace, after which nothing may be missing."""

    world: World | None = None

    def _pick(self, n: int) -> int:
        return self.choices.popleft() % n if self.choices else 0

    @initialize(choices=CHOICES)
    def begin(self, choices):
        self.choices = deque(choices)
        self.world = World(self._pick, Report())

    @rule(name=st.sampled_from(sorted(GUESTS)), choices=CHOICES, times=st.integers(1, 4))
    def guest(self, name, choices, times):
        self.take([name] * times, choices)

    @rule(names=st.lists(st.sampled_from(sorted(PROGRESS)), max_size=12), choices=CHOICES)
    def progress(self, names, choices):
        self.take(names, choices)

    @rule(name=st.sampled_from(sorted(FAULTS)), choices=CHOICES)
    def fault(self, name, choices):
        self.take([name], choices)

    def take(self, names, choices):
        self.choices = deque(choices)
        for name in names:
            self.world.take(name)

    def teardown(self):
        if self.world is None:
            return
        try:
            self.choices = deque()
            self.world.check_power_cut()
            self.world.quiesce()
            self.world.check_power_cut()
        finally:
            self.world.close()


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    monkeypatch.setattr(immediate, "REPLY_BYTES", immediate.REPLY_BYTES)
    monkeypatch.setattr(immediate, "REPLY_NS", NEVER)


def test_no_schedule_breaks_a_promise():
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=60,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_planted_bug_is_found(monkeypatch):
    begin = InflightLog.begin_epoch
    monkeypatch.setattr(InflightLog, "begin_epoch", lambda log: begin(log)[1:])
    for_ever = "it is not at rest"  # what is left out is overtaken, time and again
    with pytest.raises(Violation, match=rf"requests (of queue|are in flight)|{for_ever}"):
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=100,
                stateful_step_count=60,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
