"""What `up` makes of a machine before it starts; starting it is in end_to_end/test_up.py."""

from pathlib import Path

from splitvisor.cli.up import with_settings
from splitvisor.machine import Guest, Machine, ServiceSettings


def test_settings_of_the_command_line_come_to_every_service_os_and_nothing_else_changes():
    settings = {"net": ServiceSettings(standby=False)}
    machine = Machine("lab", (Guest("web", Path("web")),), ("disk", "net"), settings=settings)
    changed = with_settings(machine, failpoints=True)
    assert changed.settings_of("disk") == ServiceSettings(failpoints=True)
    assert changed.settings_of("net") == ServiceSettings(standby=False, failpoints=True)
    assert not machine.settings_of("net").failpoints
    assert not with_settings(changed, watchdog=False).settings_of("disk").watchdog
