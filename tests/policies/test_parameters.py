from types import SimpleNamespace

import pytest

from microhypervisor.sched.policy import Parameters
from policies.parameters import InvalidError, VcpuParameters, check

MS = 1_000_000


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"weight": 0}, ("weight 0", "1 to 65535")),
        ({"weight": 65536}, ("weight 65536", "1 to 65535")),
        ({"cap": -1}, ("cap -1", "0 for none")),
        ({"cap": 101}, ("cap 101", "1 to 100")),
        ({"budget_ns": MS}, ("period",)),
        ({"period_ns": 10 * MS}, ("budget",)),
        ({"budget_ns": 11 * MS, "period_ns": 10 * MS}, ("budget 11000000", "10000000 ns")),
        ({"budget_ns": 99_999, "period_ns": 10 * MS}, ("budget 99999", "100 us")),
        ({"budget_ns": 500_000, "period_ns": 999_999}, ("period 999999", "1 ms")),
        ({"budget_ns": MS, "period_ns": 10_001 * MS}, ("period 10001000000", "10 s")),
        ({"affinity": frozenset({0, 2})}, ("no pCPU 2", "0 to 1")),
        ({"affinity": frozenset({-1})}, ("no pCPU -1",)),
    ],
)
def test_what_no_vcpu_can_have_is_refused_with_the_value_and_the_cure(values, words):
    with pytest.raises(InvalidError) as refusal:
        check(VcpuParameters(**values), 2)
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "mask"),
    [
        ({}, 0b111),
        ({"affinity": frozenset({0, 2})}, 0b101),
        ({"weight": 1, "cap": 100, "budget_ns": MS, "period_ns": MS}, 0b111),
        ({"weight": 65535, "budget_ns": 100_000, "period_ns": 10_000 * MS}, 0b111),
    ],
)
def test_the_limits_themselves_are_possible(values, mask):
    assert check(VcpuParameters(**values), 3) == mask


def test_anything_with_the_five_attributes_will_do():
    anything = SimpleNamespace(weight=1, cap=0, budget_ns=0, period_ns=0, affinity=frozenset({1}))
    assert check(anything, 2) == 0b10
    assert check(Parameters(), 2) == 0b11


def test_the_defaults_are_the_cores():
    core, ours = Parameters(), VcpuParameters()
    for name in ("weight", "cap", "budget_ns", "period_ns", "affinity"):
        assert getattr(core, name) == getattr(ours, name)
