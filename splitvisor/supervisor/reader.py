"""Noticing that nobody reads a pipe any more, without writing to it.

The service OS writes what guests print; a guest that prints nothing for a while would keep its
machine running for a reader that is long gone. poll(2) tells of errors and hang-ups even if it is
asked for no event at all, which trio cannot ask for; so a thread does.
"""

import os
import select

import trio


async def reader_gone(fd: int) -> None:
    """Wait until what is written to `fd` has no reader; for ever if it is a file."""
    awake, end = os.pipe()
    poll = select.poll()
    poll.register(fd, 0)
    poll.register(awake, 0)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_close_at_cancel, end)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(poll.poll)
            nursery.cancel_scope.cancel()
    finally:
        os.close(awake)


async def _close_at_cancel(fd: int) -> None:
    try:
        await trio.sleep_forever()
    finally:
        os.close(fd)
