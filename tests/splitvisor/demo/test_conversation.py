"""The conversation, with this test in the place of the guest."""

import os

import trio
from trio.testing import wait_all_tasks_blocked

from splitvisor.demo.conversation import Conversation


async def guest(stdio, spoil=b""):
    """Say what echo says, and return what comes."""
    os.write(stdio.stdout, b"firmware noise\necho: ready\n")
    while True:
        await trio.lowlevel.wait_readable(stdio.stdin)
        os.write(stdio.stdout, os.read(stdio.stdin, 4096).replace(b"x", spoil or b"x"))


async def test_lines_that_come_back_are_counted():
    with Conversation() as conversation:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest, conversation.stdio)
            await conversation.begin()
            for _ in range(3):
                await conversation.say("x marks the spot")
            nursery.cancel_scope.cancel()
        assert (conversation.sent, conversation.returned) == (3, 3)


async def test_a_line_that_comes_back_changed_is_not():
    with Conversation() as conversation:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest, conversation.stdio, b"y")
            await conversation.begin()
            nursery.start_soon(conversation.say, "x marks the spot")
            await wait_all_tasks_blocked()  # the answer was read and is not the line
            nursery.cancel_scope.cancel()
        assert (conversation.sent, conversation.returned) == (1, 0)


async def test_the_end_is_a_byte_of_its_own():
    with Conversation() as conversation:
        conversation.end()
        assert os.read(conversation.stdio.stdin, 10) == b"\x04"
