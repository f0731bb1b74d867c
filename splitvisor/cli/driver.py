"""`splitvisor driver`: drivers, those that serve a device and those that somebody writes."""

import click

from splitvisor.cli.driver_abort import abort
from splitvisor.cli.driver_ls import ls
from splitvisor.cli.driver_new import new
from splitvisor.cli.driver_show import show
from splitvisor.cli.driver_swap import swap
from splitvisor.cli.driver_test import test


@click.group()
def driver() -> None:
    """See which drivers there are, put another behind a device, begin and try one of your own."""


for command in (ls, show, swap, abort, new, test):
    driver.add_command(command)
