"""Paths on the command line.

An empty one is an unset variable of a script's more often than not; as a path it would quietly
mean the current directory.
"""

from typing import Any

import click


class GivenPath(click.Path):
    """A path that is not empty."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click.Path, but nothing is no path."""
        if value == "":
            self.fail("the path is empty: name a file or directory.", param, ctx)
        return super().convert(value, param, ctx)
