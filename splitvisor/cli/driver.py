"""`splitvisor driver`: the drivers behind the devices of running machines."""

import click

from splitvisor.cli.driver_swap import swap


@click.group()
def driver() -> None:
    """Put another driver behind a device that a guest is using."""


driver.add_command(swap)
