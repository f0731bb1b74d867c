"""Readers that go, with real pipes."""

import os

import pytest
import trio
import trio.testing

from splitvisor.supervisor.reader import reader_gone


@pytest.fixture
def pipe():
    ends = dict(zip(("reader", "writer"), os.pipe(), strict=True))
    yield ends
    for fd in ends.values():
        os.close(fd)


async def test_it_comes_back_when_the_last_reader_has_gone(pipe):
    second = os.dup(pipe["reader"])
    gone = trio.Event()

    async def wait():
        await reader_gone(pipe["writer"])
        gone.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        os.close(pipe.pop("reader"))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not gone.is_set()
        os.close(second)
        await gone.wait()


async def test_one_that_is_gone_already_is_noticed(pipe):
    os.close(pipe.pop("reader"))
    await reader_gone(pipe["writer"])


async def test_it_can_be_cancelled_and_closes_what_it_opened(pipe):
    with trio.move_on_after(0):
        await reader_gone(pipe["writer"])
    before = len(os.listdir("/proc/self/fd"))
    with trio.move_on_after(0.01) as scope:
        await reader_gone(pipe["writer"])
    assert scope.cancelled_caught
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_file_is_read_for_ever(tmp_path):
    with (tmp_path / "file").open("w") as file, trio.move_on_after(0.01) as scope:
        await reader_gone(file.fileno())
    assert scope.cancelled_caught
