from types import SimpleNamespace

import pytest

from drivers.interface import DriverError
from service_os.models.catalog import MODELS


@pytest.mark.parametrize("model", ["console", "uart"])
@pytest.mark.parametrize("origin", [-1, 1 << 63, "x", 0.5, None])
def test_a_console_begins_at_a_position(model, origin):
    with pytest.raises(DriverError, match=f"^the driver's origin is {origin!r}: it must be a numb"):
        MODELS[model].evented(b"", SimpleNamespace(origin=origin), "x")
    assert MODELS[model].evented(b"", SimpleNamespace(origin=5), "x").take_output() == (b"", 5)
