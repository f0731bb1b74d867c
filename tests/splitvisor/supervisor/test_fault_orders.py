"""Orders to an incarnation that dies while they are given: nobody listens at its socket."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from splitvisor.machine import ServiceSettings
from splitvisor.supervisor.fault_orders import FaultOrders
from splitvisor.supervisor.faults import ANSWER
from splitvisor.supervisor.process import Process
from splitvisor.supervisor.recovery import Recovery


class Child:
    """That has a pid, and is on its way out."""

    pid = 17

    def exiting(self):
        return True


@pytest.fixture
def process(tmp_path):
    endpoint = core.ServiceEndpoint(name="service", epoch=3, address=str(tmp_path / "none"))
    return Process(Child(), endpoint, attention=None, born=0.0)


@pytest.fixture
def orders(process):
    return FaultOrders(
        Recovery("service", standby=True),
        ServiceSettings(failpoints=True),
        find=lambda standby: (3, process),
        processes={3: process},
        feed=lambda step: None,
        tell=lambda event: None,
    )


async def answer(process, call, *arguments):
    """What it comes back with when the incarnation is given up in the middle."""
    answers = []

    async def ask():
        answers.append(await call(*arguments))

    with trio.fail_after(ANSWER / 2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            process.give_up()
    return answers[0]


async def test_there_are_no_faults_in_one_that_dies(orders, process):
    assert await answer(process, orders.armed) == []


async def test_what_dies_has_nothing_to_be_cleared(orders, process):
    assert await answer(process, orders.clear) == 0


async def test_one_that_dies_of_a_fault_has_got_it(orders, process):
    fault = faults.Fault(action=faults.EXIT, point=faults.AFTER_REPLY)
    reply = await answer(process, orders.inject, operator.FaultRequest(fault=fault))
    assert (reply.pid, reply.epoch) == (17, 3)
