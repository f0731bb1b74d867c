"""The guest memory that tests of the core use too."""

from tests.microhypervisor.conftest import memory

__all__ = ["memory"]
