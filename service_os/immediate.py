"""The hot path: a batch in, its completions out, on the stream's own thread.

The loop is written out, without a layer between a request and the model, because it runs a hundred
thousand times a second; what a request costs here besides the driver is what the design pays for
keeping drivers out of the core.
"""

from collections.abc import Iterator
from time import monotonic_ns

from protos.io_pb2 import CoreMessage, ServiceMessage
from service_os.models.base import Immediate
from service_os.window import Window

# The first completions of a long batch leave after so many bytes, or so much time, while the rest
# is still executed: the progress of a slow medium can be seen, well within a driver's patience.
REPLY_BYTES = 1 << 20
REPLY_NS = 50_000_000


def answer(
    messages: Iterator[CoreMessage], model: Immediate, window: Window, epoch: int
) -> Iterator[ServiceMessage]:
    """Answers to all messages. Nothing is ever held, so a reset needs none."""
    execute = model.execute
    areas = window.areas
    for message in messages:
        requests = message.batch.requests
        if not requests:
            continue
        reply = ServiceMessage()
        reply.completions.epoch = epoch
        add = reply.completions.completions.add
        late = monotonic_ns() + REPLY_NS
        room = REPLY_BYTES
        for request in requests:
            readable, writable = areas(request)
            written = execute(request.queue, request.header, readable, writable)
            done = add(slot=request.slot, generation=request.generation, written=written)
            if request.inlined:
                done.payload = bytes(writable[:written])
            room -= request.readable + written
            if room <= 0 or monotonic_ns() > late:
                yield reply
                reply = ServiceMessage()
                reply.completions.epoch = epoch
                add = reply.completions.completions.add
                late = monotonic_ns() + REPLY_NS
                room = REPLY_BYTES
        if reply.completions.completions:
            yield reply
