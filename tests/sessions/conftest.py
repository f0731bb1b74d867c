"""A served device and service OSes that follow the test's script."""

import pytest

from tests.microhypervisor.conftest import memory
from tests.sessions.service import Rig
from tests.sessions.services import Services

__all__ = ["memory"]


@pytest.fixture(params=["window", "inline"])
def rig(memory, request):
    """Both ways that payload can travel."""
    rig = Rig(memory, inline=request.param == "inline")
    yield rig
    rig.close()


@pytest.fixture
def windowed(memory):
    rig = Rig(memory)
    yield rig
    rig.close()


@pytest.fixture
def services(monkeypatch):
    """A directory, and a service OS of which epoch 1 serves."""
    services = Services(monkeypatch)
    services.connect(1)
    yield services
    services.close()
