"""What tests of several drivers share."""

import pytest

from tests.drivers.mirror_parts import Part, mirrors


@pytest.fixture
def parts(tmp_path):
    """Two children of a mirror."""
    return [Part(tmp_path / name) for name in "ab"]


@pytest.fixture
def state(tmp_path):
    """Where a mirror keeps what it knows of them."""
    return tmp_path / "state"


@pytest.fixture
def mirror(parts, state):
    """Makes mirrors of them."""
    with mirrors(parts, state) as begun:
        yield begun
