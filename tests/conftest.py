"""What tests of all packages share."""

import ctypes
import struct

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing of what is tested. A commit
# is judged by the same examples every time; new ones are looked for by `make explore`.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("same", _PATIENT, derandomize=True)
settings.register_profile("explore", _PATIENT, max_examples=1000)
settings.load_profile("same")

_CAPGET, _CAPSET = 125, 126  # system calls of x86-64
_VERSION = 0x20080522  # linux/capability.h: three pairs of words
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2


@pytest.fixture
def no_privileges():
    """File permissions hold for this thread even if it is root's."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", _VERSION, 0)
    before = ctypes.create_string_buffer(24)
    assert libc.syscall(_CAPGET, header, before) == 0
    effective, *rest = struct.unpack("6I", before.raw)
    dropped = struct.pack("6I", effective & ~(_DAC_OVERRIDE | _DAC_READ_SEARCH), *rest)
    assert libc.syscall(_CAPSET, header, dropped) == 0
    yield
    assert libc.syscall(_CAPSET, header, before) == 0
