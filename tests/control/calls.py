"""What tests of the core's calls share: names for guests, and refusals."""

import contextlib
import itertools

import grpc
import pytest

Code = grpc.StatusCode
names = (f"guest{n}" for n in itertools.count())


@contextlib.contextmanager
def refused(code, *words):
    """The call fails with this status and one line that holds these words."""
    with pytest.raises(grpc.RpcError) as raised:
        yield
    text = raised.value.details()
    assert raised.value.code() is code, text
    assert "\n" not in text
    for word in words:
        assert word in text
