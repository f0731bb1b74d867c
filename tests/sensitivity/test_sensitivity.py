"""Each planted bug is caught by its checker, which is content without it."""

import os
import re
import shutil

import pytest

from tests.end_to_end.conftest import needs_kvm
from tests.sensitivity.bugs import BUGS
from tests.sensitivity.checkers import LONGEST, Machines, Simulator, Suite, run_tests
from tests.sensitivity.plant import environment
from tests.sensitivity.table import PAGE, page


def by(kind):
    return [pytest.param(bug, id=bug.name) for bug in BUGS if isinstance(bug.checker, kind)]


def caught(bug, said):
    print(said)
    assert said, f"nobody notices that {bug.breaks}"
    assert re.search(bug.symptom, said), f"noticed is something else: {said}"


@pytest.fixture
def planted(monkeypatch):
    """Have processes that are started from now on grow a bug."""

    def plant(bug):
        for name, value in environment(bug, os.environ).items():
            monkeypatch.setenv(name, value)

    return plant


@pytest.mark.parametrize("bug", by(Simulator))
def test_the_simulator_notices(bug):
    caught(bug, bug.checker.look(bug))


def weights():
    return sorted({bug.checker.weights for bug in BUGS if isinstance(bug.checker, Simulator)})


@pytest.mark.parametrize("chosen", weights(), ids=str)
def test_the_simulator_finds_nothing_where_nothing_is(chosen):
    assert Simulator(LONGEST, chosen).look() == ""


@needs_kvm
@pytest.mark.kvm
@pytest.mark.parametrize("bug", by(Machines))
def test_a_machine_notices(bug, planted, tmp_path):
    planted(bug)
    caught(bug, bug.checker.look(tmp_path))


@needs_kvm
@pytest.mark.kvm
@pytest.mark.parametrize("scenario", sorted({p.values[0].checker.scenario for p in by(Machines)}))
def test_a_machine_finds_nothing_where_nothing_is(scenario, tmp_path):
    assert Machines(scenario).look(tmp_path) == ""


@pytest.mark.parametrize("bug", by(Suite))
def test_the_suite_notices(bug, planted):
    if (needs := bug.checker.needs) and shutil.which(needs) is None:
        pytest.skip(f"{needs} is not installed")
    planted(bug)
    caught(bug, bug.checker.look())


def test_the_suite_finds_nothing_where_nothing_is():
    assert run_tests(*sorted({p.values[0].checker.node for p in by(Suite)})) == ""


def test_there_are_as_many_as_were_asked_for():
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 25


def test_the_page_lists_them():
    assert PAGE.read_text() == page(), "run python -m tests.sensitivity"
