"""Incarnations of a real service OS, with a core that only takes note of them."""

import os
import subprocess
from pathlib import Path

import pytest
import trio

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.errors import UserError
from splitvisor.supervisor import events
from splitvisor.supervisor.child import Stdio
from splitvisor.supervisor.run_directory import claim
from splitvisor.supervisor.service import ServiceKeeper


class Core:
    """Notes each endpoint, and whether the incarnation before it was really gone."""

    def __init__(self):
        self.endpoints = []
        self.connected = trio.Event()
        self.must_be_gone = []

    async def connect(self, endpoint):
        assert all(not os.path.exists(f"/proc/{pid}") for pid in self.must_be_gone)
        self.endpoints.append(endpoint)
        return core.ConnectReply(attached=3)


@pytest.fixture
async def world(tmp_path):
    directory = claim(tmp_path / "r", "lab", ("service",))
    heard_send, heard = trio.open_memory_channel(100)
    the_core = Core()
    stdio = Stdio(subprocess.DEVNULL, subprocess.DEVNULL)
    keeper = ServiceKeeper("service", directory, stdio, the_core.connect, heard_send.send_nowait)
    yield keeper, the_core, heard, directory
    await keeper.end(trio.CancelScope())
    directory.remove()


async def until(heard, kind):
    async for event in heard:
        if isinstance(event, kind):
            return event
    raise AssertionError("the events ended")


async def test_after_a_kill_the_next_epoch_serves_on_new_sockets_with_a_new_token(world):
    keeper, the_core, heard, _ = world
    await keeper.launch()
    assert keeper.status().state == operator.SERVICE_STARTING
    await keeper.attach()
    assert keeper.status().state == operator.SERVICE_SERVING
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.keep)
        pid, epoch = keeper.kill()
        the_core.must_be_gone.append(pid)
        assert epoch == 1
        died = await until(heard, events.ServiceDied)
        assert (died.pid, died.epoch, died.how, died.delay) == (pid, 1, "signal 9 (SIGKILL)", 0)
        recovered = await until(heard, events.ServiceRecovered)
        await keeper.serving()
        nursery.cancel_scope.cancel()
    first, second = the_core.endpoints
    assert (first.epoch, second.epoch) == (1, 2)
    for field in ("address", "grant_address", "token"):
        assert getattr(first, field) != getattr(second, field)
    assert not Path(first.address).exists()
    assert Path(second.address).exists()
    outage = recovered.outage
    assert outage.killed <= outage.noticed <= outage.reaped <= outage.started <= outage.attached
    status = keeper.status()
    assert (status.epoch, status.deaths, status.pid) == (2, 1, recovered.pid)
    assert status.last_outage_ms == outage.total_ms
    assert status.last_death == "signal 9 (SIGKILL)"


async def test_the_token_is_not_on_the_command_line(world):
    keeper, the_core, _, _ = world
    await keeper.launch()
    await keeper.attach()
    (endpoint,) = the_core.endpoints
    command = Path(f"/proc/{keeper.status().pid}/cmdline").read_bytes()
    assert endpoint.token
    assert endpoint.token.encode() not in command


async def test_a_first_start_that_fails_is_one_line_for_the_user(world):
    keeper, _, _, directory = world
    listen = directory.service_sockets("service", 1)[1]
    listen.touch()  # where a socket belongs
    with pytest.raises(UserError, match=r"^service OS service could not start \(exit status 2\): "):
        await keeper.launch()


async def test_an_incarnation_that_cannot_start_is_followed_by_another(world):
    keeper, _, heard, directory = world
    await keeper.launch()
    await keeper.attach()
    obstacle = directory.service_sockets("service", 2)[1]
    obstacle.touch()  # where a socket belongs
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.keep)
        keeper.kill()
        failed = await until(heard, events.ServiceFailed)
        assert failed.epoch == 2
        recovered = await until(heard, events.ServiceRecovered)
        nursery.cancel_scope.cancel()
    assert recovered.epoch == 3
    assert keeper.status().deaths == 2


async def test_it_ends_in_order(world):
    keeper, _, _, directory = world
    await keeper.launch()
    await keeper.end(trio.CancelScope())
    assert keeper.status().state == operator.SERVICE_DEAD
    with pytest.raises(UserError, match="dead already"):
        keeper.kill()
    assert not directory.service_sockets("service", 1)[0].exists()
