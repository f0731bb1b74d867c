"""The README and the tutorial, run as they are printed.

In every section the blocks of files (their first line is a comment with the file's name) are
written down, then the commands of the console blocks run in one bash. What comes out must be what
is printed, where a line `...` stands for any lines and `...` in a line for anything. Runs of blanks
and of rules count as one, for the width of a column depends on what is in it.

The tutorial is one session from its beginning to its end. Pip is told by its environment to install
elsewhere than where the developer works.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path

import pytest

from drivers import registry
from drivers.spec import parse
from splitvisor import machine_file
from splitvisor.cli.client import stop
from splitvisor.cli.run import run as run_command
from splitvisor.supervisor.run_directory import running

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
MARK = "\x01"
PATIENCE = 240  # seconds for one section; on a loaded host without KVM it takes half of them

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.(?:py|toml))\n")
LINK = re.compile(r"\]\(([^)#]+)\)")
EXAMPLE = re.compile(r"^\| `(\w+)\.(\w+)` \|[^|]*\| `(--.*)` \|$", re.MULTILINE)
TABLED = re.compile(r"^\| `(\w+\.[\w.]+)` \|", re.MULTILINE)  # a row's name with a dot in it
# A host without KVM is told about on standard error; nothing else differs there.
NO_KVM = re.compile(r"^splitvisor: no KVM here .*\n", re.MULTILINE)


@dataclass
class Section:
    """Part of the README under one heading."""

    title: str
    files: dict[str, str] = field(default_factory=dict)
    session: list[tuple[str, str]] = field(default_factory=list)  # commands and what they print


def sections(text, heading=r"^#{2,3} "):
    """The sections with a session in them."""
    found = []
    for part in re.split(heading, text, flags=re.MULTILINE)[1:]:
        section = Section(part.split("\n", 1)[0])
        for language, body in BLOCK.findall(part):
            if language == "console":
                section.session += commands(body)
            elif name := FILE.match(body):
                section.files[name[1]] = body
        if section.session:
            found.append(section)
    return found


def commands(block):
    """Pairs of a command, its continuation lines joined, and the text that follows it."""
    found = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *rest = part.split("\n")
        while rest and rest[0].startswith("> "):
            command += "\n" + rest.pop(0)[2:]
        found.append((command, "\n".join(rest)))
    return found


def pattern(printed):
    """A regular expression for what is printed; blanks are squeezed already."""
    parts = []
    for line in squeezed(printed).splitlines():
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(re.escape(line).replace(re.escape("..."), ".*") + "\n")
    return "".join(parts)


def squeezed(text):
    lines = (re.sub(r"([ ─])\1+", r"\1", line).rstrip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines)


def script(session):
    """All commands for one bash; behind each a mark, and its status for the next to see."""
    return "".join(
        f"{command}\n__status=$?; printf '{MARK}'; (exit $__status)\n" for command, _ in session
    )


def run(text, folder, environment):
    """What bash prints; everything that it started and left in its session ends with it."""
    with subprocess.Popen(
        ["bash", "-c", text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as bash:
        try:
            return bash.communicate(timeout=PATIENCE)[0]
        finally:
            if bash.poll() is None:
                os.killpg(bash.pid, signal.SIGKILL)


@pytest.fixture
def environment(splitvisor, tmp_path):
    """Variables for a session; machines it leaves are stopped."""
    site = str(tmp_path / "site")
    (tmp_path / "site").mkdir()
    also = f"import site; site.addsitedir({site!r})\n"  # what is installed with -e is found so
    (tmp_path / "site" / "sitecustomize.py").write_text(also)
    yield os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SPLITVISOR_RUN_ROOT": str(splitvisor.run_root),
        "PIP_TARGET": site,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONPATH": site,
    }
    for machine in running(splitvisor.run_root):
        stop(machine, "")


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize(
    "section", [*sections(TEXT), *sections(TUTORIAL, r"\A# ")], ids=lambda section: section.title
)
def test_a_session_runs_as_printed(section, tmp_path, environment):
    folder = tmp_path / "w"
    for name, text in section.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    folder.mkdir(exist_ok=True)
    for name in ("build", "pyproject.toml"):  # what is found where the clone is the current folder
        (folder / name).symlink_to(ROOT / name)
    for command, _ in section.session:
        if command.startswith("qemu") and not shutil.which(command.split()[0]):
            pytest.skip(f"{command.split()[0]} is not installed")
    outputs = run(script(section.session), folder, environment).split(MARK)
    assert outputs.pop() == ""
    for (command, printed), output in zip(section.session, outputs, strict=True):
        said = NO_KVM.sub("", squeezed(output))
        assert re.fullmatch(pattern(printed), said), (
            f"$ {command}\n{output}\nis not what the README prints:\n{printed}"
        )


def test_what_is_printed_is_compared_line_by_line():
    expected = pattern("a ... c\n...\nlast  (1.5)\n")
    for same in ("a b c\nlast (1.5)\n", "a  c\nx\ny\nlast (1.5)\n"):
        assert re.fullmatch(expected, same)
    for other in ("a b c\nlast (105)\n", "a b d\nlast (1.5)\n", "a b c\nlast (1.5)\nmore\n", ""):
        assert not re.fullmatch(expected, other)


def test_every_link_leads_somewhere():
    for text, folder in ((TEXT, ROOT), (TUTORIAL, ROOT / "docs")):
        links = [link for link in LINK.findall(text) if "://" not in link]
        assert links
        assert [link for link in links if not (folder / link).exists()] == []


def test_the_targets_of_make_are_those_printed():
    make = ["make", "--no-print-directory", "-C", str(ROOT), "help"]
    printed = subprocess.run(make, capture_output=True, text=True, check=True).stdout
    assert f"$ make help\n{printed}```" in TEXT


@pytest.mark.parametrize(("kind", "driver", "words"), EXAMPLE.findall(TEXT))
def test_the_example_of_a_driver_is_right(kind, driver, words):
    option, spec = shlex.split(words)
    found = next(o for o in run_command.params if option in o.opts)
    assert {"disks": "block", "serial": "console"}.get(found.name, found.name.rstrip("s")) == kind
    assert parse(spec).driver == driver
    registry.check(kind, spec)


def test_the_tables_of_drivers_and_keys_are_complete():
    ours = distribution("splitvisor").entry_points.select(group=registry.GROUP)
    keys = [f"machine.{key}" for key in machine_file._MACHINE_KEYS]
    keys += [f"services.NAME.{key}" for key in machine_file._SERVICE_KEYS]
    keys += [f"scheduler.{key}" for key in machine_file._SCHEDULER_KEYS]
    keys += [f"guests.NAME.{key}" for key in machine_file._GUEST_KEYS]
    assert sorted(TABLED.findall(TEXT)) == sorted([*ours.names, *keys])
    assert [f"{kind}.{name}" for kind, name, _ in EXAMPLE.findall(TEXT)] == [
        name for name in TABLED.findall(TEXT) if name in ours.names
    ]
