"""What a supervisor makes of the core's events, without the processes."""

import subprocess

import trio

from protos import core_pb2 as core
from splitvisor.machine import Machine
from splitvisor.supervisor import events
from splitvisor.supervisor.child import Stdio
from splitvisor.supervisor.locks import Locks
from splitvisor.supervisor.plan import Plan
from splitvisor.supervisor.run_directory import claim
from splitvisor.supervisor.supervisor import Supervisor


async def test_a_device_that_the_core_itself_served_is_nobodys_death(tmp_path):
    told = []
    lost = core.Event(kind=core.EVENT_DEVICE_LOST, guest="web", device="balloon0", epoch=1)
    with claim(tmp_path / "r", "lab", ("service",)) as directory:
        stdio = Stdio(subprocess.DEVNULL, subprocess.DEVNULL)
        plan, locks = Plan(Machine("lab", ()), ()), Locks()
        supervisor = Supervisor(plan, directory, stdio, told.append, locks)
        send, receive = trio.open_memory_channel(1)
        await send.send(lost)
        send.close()
        await supervisor.guests.follow(receive)
        await supervisor.close()
    assert told == [events.GuestEvent(lost)]
