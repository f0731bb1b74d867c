"""Where the payload of a request is: in a slot's area of the grant window, or in the message."""

from protos.io_pb2 import Request
from service_os.models.base import BadMessage

ALIGNMENT = 64  # of the writable area, as protos/io.proto says


class Window:
    """The grant window of one device as `view`; empty with stride 0 when all payload is inline."""

    def __init__(self, view: memoryview, stride: int) -> None:
        self.view = view
        self.stride = stride

    def areas(self, request: Request) -> tuple[memoryview, memoryview]:
        """The readable and the writable area of a request; a fresh one when it is inlined."""
        if request.inlined:
            return memoryview(request.payload), memoryview(bytearray(request.writable))
        base = request.slot * self.stride
        start = base + (request.readable + ALIGNMENT - 1 & -ALIGNMENT)
        end = start + request.writable
        if end > base + self.stride or end > len(self.view):
            raise BadMessage(f"slot {request.slot} does not fit into the window")
        return self.view[base : base + request.readable], self.view[start:end]
