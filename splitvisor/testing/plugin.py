"""The pytest plugin: the fixture `testbed`, and what its machines did in the report of a failure.

It is loaded by its entry point in every run of pytest, so it imports nothing before it is used.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from splitvisor.testing.machine import Machine
    from splitvisor.testing.testbed import Testbed

_CONSOLE_LINES = 30


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line's options."""
    parser.getgroup("splitvisor").addoption(
        "--splitvisor-cpu",
        choices=("auto", "kvm", "emulated"),
        default="auto",
        help="the CPU back end of guests in tests; auto takes KVM where it works",
    )


@pytest.fixture
def splitvisor_cpu(request: pytest.FixtureRequest) -> str:
    """The CPU back end of guests: the option's, unless tests have a fixture of this name."""
    cpu: str = request.config.getoption("--splitvisor-cpu")
    return cpu


@pytest.fixture
def testbed(splitvisor_cpu: str, tmp_path: Path) -> "Iterator[Testbed]":
    """Starts machines, with files in `tmp_path`; ends them all after the test."""
    from splitvisor.machine import CpuChoice  # noqa: PLC0415
    from splitvisor.testing.testbed import Testbed  # noqa: PLC0415

    with Testbed(tmp_path, CpuChoice(splitvisor_cpu)) as bed:
        yield bed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add events and consoles to the report of a test that failed."""
    report = yield
    bed: Testbed | None = getattr(item, "funcargs", {}).get("testbed")
    if report.failed and bed is not None:
        for machine in bed.machines:
            report.sections += _sections(machine)
    return report


def _sections(machine: "Machine") -> Iterator[tuple[str, str]]:
    """Heading and text of all that is known of a machine."""
    yield f"splitvisor: events of machine {machine.name}", machine.story.text()
    yield f"splitvisor: machine {machine.name} said", "\n".join(machine.story.lines)
    for console in sorted(machine.folder.glob("*.log")):
        said = console.read_text(errors="replace").splitlines()[-_CONSOLE_LINES:]
        yield f"splitvisor: {console.name}, the end", "\n".join(said)
