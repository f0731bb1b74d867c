"""docs/sensitivity.md, which is made of the bugs themselves."""

from pathlib import Path

from tests.sensitivity.bugs import BUGS
from tests.sensitivity.plant import Bug

PAGE = Path(__file__).parents[2] / "docs" / "sensitivity.md"
MARK = "<!-- what follows is made by `python -m tests.sensitivity` -->\n"
HEAD = "| bug | what is promised, and what happens instead | where | caught by | how soon |\n"


def table() -> str:
    """A row for each bug."""
    return HEAD + "| --- | --- | --- | --- | --- |\n" + "".join(map(_row, BUGS))


def _row(bug: Bug) -> str:
    where = ", ".join(dict.fromkeys(f"`{edit.function}`" for edit in bug.edits))
    cells = (f"`{bug.name}`", bug.breaks, where, str(bug.checker), bug.checker.soon)
    return f"| {' | '.join(cells)} |\n"


def page() -> str:
    """The whole page, with the table as it is to be."""
    return PAGE.read_text().partition(MARK)[0] + MARK + "\n" + table()
