"""A served device and service OSes that follow the test's script."""

import pytest

from tests.sessions.service import Rig


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
