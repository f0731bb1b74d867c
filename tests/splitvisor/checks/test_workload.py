"""What follows from a seed; that the guest does the same is seen by tests/end_to_end/test_storm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.checks.workload import NEVER, Kind, Workload, make_text

WORKLOADS = st.builds(
    Workload,
    seed=st.integers(0, 2**64 - 1),
    blocks=st.integers(1, 40),
    span=st.integers(1, 8),
    writes=st.integers(0, 100),
    flush=st.integers(0, 20),
)


@given(workload=WORKLOADS, number=st.integers(0, 2**40))
def test_operations_are_on_the_disk(workload, number):
    operation = workload.operation(number)
    if operation.kind is Kind.FLUSH:
        assert (number + 1) % workload.flush == 0
        assert operation.count == 0
    else:
        assert 1 <= operation.count <= workload.span
        assert 0 <= operation.first <= workload.blocks - operation.count


def test_there_is_some_of_everything():
    operations = [Workload(seed=1, blocks=1000).operation(n) for n in range(10_000)]
    kinds = [operation.kind for operation in operations]
    assert kinds.count(Kind.FLUSH) == 39
    assert 4_700 < kinds.count(Kind.WRITE) < 5_300
    counts = [operation.count for operation in operations]
    assert set(counts) == set(range(9))
    assert 500 < sum(count > 1 for count in counts) < 750
    hot = sum(operation.first < 16 for operation in operations if operation.count)
    assert 1_200 < hot < 1_600


@given(workload=WORKLOADS, below=st.integers(0, 200), failed=st.sets(st.integers(0, 200)))
def test_last_writes_are_those_of_going_through_all(workload, below, failed):
    expected = [NEVER] * workload.blocks
    for number in range(below):
        for block in range(workload.blocks):
            if workload.operation(number).writes(block) and number not in failed:
                expected[block] = number
    assert workload.last_writes(below, failed) == expected


@pytest.mark.parametrize("number", range(50))
def test_texts_are_of_the_guests_alphabet_and_length(number):
    text = make_text(number)
    assert len(text) in range(16, 77, 4)
    assert all(letter.isalnum() or letter in ".-" for letter in text)


def test_lines_differ():
    workload = Workload(seed=1, blocks=1)
    texts = {workload.line(i) for i in range(1000)} | {workload.uart_line(i) for i in range(1000)}
    assert len(texts) == 2000
