"""The checks of each kind of driver, by module."""

import importlib

_MODULES = {
    "block": ("disks", "dying_disks", "blocks_given_up", "copies"),
    "console": ("consoles",),
    "entropy": ("sources",),
    "clock": ("clocks",),
    "net": ("nets",),
    "folder": ("shares", "dying_shares"),
    "virtio": ("devices",),
}


def load(kind: str) -> None:
    """Have the checks of this kind, and those of all, registered."""
    for name in (*_MODULES[kind], "any_driver"):
        importlib.import_module(f"splitvisor.conformance.{name}")
