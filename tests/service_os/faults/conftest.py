"""A service OS with failpoints, and devices that are led through a life step by step."""

import struct

import pytest

from protos.faults_pb2 import ArmRequest, Fault, ListRequest
from protos.faults_pb2_grpc import FaultsStub
from protos.io_pb2 import Request

TOKEN = "secret"
PATIENCE = 60
OUT = 1


class Subject:
    """An incarnation with failpoints; `arm` what shall happen, then lead a device through it."""

    def __init__(self, incarnation):
        self.incarnation = incarnation
        self.stub = FaultsStub(incarnation.channel)

    def arm(self, **fields):
        request = ArmRequest(token=TOKEN, fault=Fault(**fields))
        return self.stub.Arm(request, timeout=PATIENCE).id

    def listed(self):
        return self.stub.List(ListRequest(token=TOKEN), timeout=PATIENCE).faults

    def wait_until_acted(self):
        while not self.listed()[-1].acted:
            pass


@pytest.fixture
def subject(start):
    return Subject(start(options=["--failpoints"]))


class Disk:
    """Writes of the numbers 1, 2, ... into the first sectors of a disk, two in a batch."""

    model = "block"

    def __init__(self, folder):
        self._path = folder / "disk.img"
        self._path.write_bytes(bytes(64 * 512))
        self.spec = f"file:path={self._path}"

    def batch(self, first):
        return [
            Request(
                slot=i,
                generation=7,
                header=struct.pack("<IIQ", OUT, 0, i),
                readable=512,
                writable=1,
                inlined=True,
                payload=bytes([i + 1]) * 512,
            )
            for i in range(first, first + 2)
        ]

    def done(self):
        """How many requests have taken effect."""
        data = self._path.read_bytes()
        return sum(data[i * 512] == i + 1 for i in range(64))


class Log:
    """Lines of one byte to a console, two in a batch."""

    model = "console"

    def __init__(self, folder):
        self._path = folder / "console.log"
        self.spec = f"log:path={self._path}"

    def batch(self, first):
        return [
            Request(slot=i, generation=7, queue=1, readable=1, inlined=True, payload=b"x")
            for i in range(first, first + 2)
        ]

    def done(self):
        return self._path.stat().st_size if self._path.exists() else 0


@pytest.fixture(params=[Disk, Log])
def device(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path)
