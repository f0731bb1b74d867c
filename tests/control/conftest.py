"""A core as a process, as the tests of the core have it."""

from tests.microhypervisor.conftest import core, cpu, shared_core

__all__ = ["core", "cpu", "shared_core"]
