"""Logs that are right, and logs with every kind of wrong."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitvisor.checks.console import check_console, check_uart
from splitvisor.checks.workload import Workload

MANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def joined(lines):
    return "".join(lines).encode()


def test_what_was_sent_agrees(workload, said):
    verdict = check_console(joined(said(workload, 20)), workload)
    assert verdict.agrees, verdict.problems
    assert verdict.checked == 20 + 10 + 6 + 6 + 3


@MANY
@given(at=st.integers(0, 2000), flip=st.integers(1, 255))
def test_every_changed_byte_is_found(workload, said, at, flip):
    log = bytearray(joined(said(workload, 20)[:-2]))
    end = joined(said(workload, 20)[-2:])
    log[at % len(log)] ^= flip
    assert not check_console(bytes(log) + end, workload).agrees


@MANY
@given(place=st.integers(0, 44), change=st.sampled_from(["lost", "doubled", "swapped"]))
def test_lines_that_are_lost_doubled_or_swapped_are_found(workload, said, place, change):
    lines = said(workload, 20)
    line = lines[place]
    if change == "swapped":
        place = min(place, len(lines) - 2)
        lines[place : place + 2] = lines[place : place + 2][::-1]
    else:
        lines[place : place + 1] = [] if change == "lost" else [line, line]
    assert not check_console(joined(lines), workload).agrees


def test_the_first_difference_is_named_with_its_byte(workload, said):
    lines = said(workload, 5)
    doubled = joined([*lines[:2], *lines[1:]])
    problem = check_console(doubled, workload).problems[0]
    assert problem.startswith(f"byte {len(joined(lines[:2]))}: b'0 ")
    assert "expected b'1 " in problem


@MANY
@given(end=st.integers(0, 1500))
def test_a_log_may_end_anywhere_only_if_the_guest_was_stopped(workload, said, end):
    lines = said(workload, 20)
    start, log = len(lines[0]), joined(lines[:-2])
    log = log[: max(start, len(log) - end)]
    assert check_console(log, workload, stopped=True).agrees
    assert not check_console(log, workload).agrees


def test_a_stopped_guest_sends_no_other_bytes(workload, said):
    lines = said(workload, 3)
    rest = joined(lines[:1]) + b"storm: line 0 1"
    assert not check_console(rest, workload, stopped=True).agrees
    assert not check_console(joined(lines[:1]) + b"stormy", workload, stopped=True).agrees


def test_the_log_is_one_storms_from_its_first_byte_to_its_last(workload, said):
    log = joined(said(workload, 4))
    assert not check_console(b"storm: gap 1 at 2\n" + log, workload).agrees
    assert not check_console(log + b"\n", workload).agrees
    assert not check_console(log + log, workload).agrees
    assert not check_console(log, Workload(workload.seed + 1, workload.blocks)).agrees
    assert not check_console(b"", workload).agrees
    assert check_console(b"", workload, stopped=True).agrees


@pytest.mark.parametrize("count", [None, 3])
def test_com1_is_compared_letter_for_letter(workload, count):
    lines = [f"storm: uart {workload.uart_line(i)}\n".encode() for i in range(3)]
    log = b"".join(lines)
    assert check_uart(log, workload, count).agrees
    assert not check_uart(log[:-2] + b"?\n", workload, count).agrees
    assert not check_uart(log + lines[2], workload, count).agrees
    assert not check_uart(lines[0] + lines[2], workload, count).agrees
    assert check_uart(log[:-5], workload, count).agrees == (count is None)
