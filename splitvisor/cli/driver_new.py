"""`splitvisor driver new`: a package with a driver to begin with."""

import keyword
import re
import sys
from pathlib import Path

import click

from drivers import registry
from splitvisor.cli.driver_templates import DRIVERS, PYPROJECT, TEST
from splitvisor.cli.paths import GivenPath
from splitvisor.errors import UserError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(DRIVERS)), default="block", help="Default: block.")
@click.option(
    "--dir",
    "folder",
    type=GivenPath(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where to make it. Default: NAME, here.",
)
def new(name: str, kind: str, folder: Path | None) -> None:
    """Write a package with a small driver that works, and its test, to begin with.

    \b
    Examples:
      splitvisor driver new my_disk
      splitvisor driver new my_dice --kind entropy --dir src/dice
    """
    _refuse(kind, name)
    where = folder or Path(name)
    if where.exists() and any(where.iterdir()):
        raise UserError(f"{where} is there already: name another folder with --dir")
    words = {"NAME": name, "CLASS": "".join(part.capitalize() for part in name.split("_"))}
    texts = {
        "pyproject.toml": PYPROJECT,
        f"{name}.py": DRIVERS[kind],
        f"test_{name}.py": TEST[kind],
    }
    where.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        for word, replacement in (words | {"KIND": kind}).items():
            text = text.replace(f"@{word}@", replacement)  # noqa: PLW2901
        (where / file).write_text(text)
    click.echo(f"{where}: {', '.join(texts)}")


def _refuse(kind: str, name: str) -> None:
    """UserError for a name that Python or splitvisor has another use for."""
    if not _NAME.fullmatch(name):
        raise UserError(f"name {name!r}: use at most 32 of a-z 0-9 _, a letter first")
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or name in sys.modules:
        raise UserError(f"name {name!r} is Python's or splitvisor's: choose another")
    if name in registry.names(kind):
        raise UserError(f"there is a {kind} driver {name!r} already: choose another name")
