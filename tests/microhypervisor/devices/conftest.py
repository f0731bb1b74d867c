"""A running device, to be served by hand."""

import pytest

from tests.sessions.service import Rig, described


@pytest.fixture
def rig(memory):
    """A running device that nobody serves: the test collects and accepts by itself."""
    rig = Rig(memory)
    rig.device.adopt(described())
    rig.device.begin_epoch()
    rig.start()
    while rig.device.next_control():
        pass
    yield rig
    rig.close()
