"""Whole numbers on the command line."""

import click


class WholeNumber(click.IntRange):
    """One within limits, which is called what people call it where something else is given."""

    name = "whole number"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What stands for it in a help text."""
        return "N"
