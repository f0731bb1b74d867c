"""A core as a process, as the tests of the core have it, and names for its guests."""

import contextlib

import grpc
import pytest

from tests.control.calls import names
from tests.microhypervisor.conftest import core, cpu, shared_core

__all__ = ["core", "cpu", "name", "shared_core"]


@pytest.fixture
def name(shared_core):
    """A guest's name; whatever guest gets it is destroyed afterwards."""
    name = next(names)
    yield name
    with contextlib.suppress(grpc.RpcError):
        shared_core.call("Destroy", name)
