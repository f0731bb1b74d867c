"""What an access outside RAM costs the vCPU that makes it: a pCPU, or none."""

import os
import threading
from functools import partial

from microhypervisor.bus import AddressMap, VcpuBus
from microhypervisor.devices.port_device import PortDevice
from microhypervisor.limits import SLICE_NS
from microhypervisor.sched.accounting import State
from microhypervisor.sched.scheduler import Scheduler
from protos import core_pb2, io_pb2
from tests.microhypervisor.sched.scripted import Machine, ScriptedVcpu, eventually

BASE = 0x3F8


class Entrance:
    """A device's lock, and how many have come to it."""

    def __init__(self, lock):
        self.lock = lock
        self.came = 0
        self._count = threading.Lock()

    def __enter__(self):
        with self._count:
            self.came += 1
        self.lock.acquire()

    def __exit__(self, *_):
        self.lock.release()


def test_of_two_writes_for_which_there_is_room_once_one_waits_and_holds_no_pcpu(memory):
    ports = core_pb2.PortRange(base=BASE, count=8)
    config = core_pb2.DeviceConfig(name="com1", service="main", model="uart", ports=ports)
    device = PortDevice("g", config, memory, None)
    device.adopt(io_pb2.Attached(slots=1))  # nobody answers
    address_map = AddressMap(memory, [])
    address_map.add_ports(device)
    m = Machine(Scheduler([min(os.sched_getaffinity(0))] * 2, "round_robin", SLICE_NS))

    def writes(cpu):
        blocking = partial(m.scheduler.blocking, m.tasks[cpu.index])
        VcpuBus(address_map, blocking, None).port_out(BASE, 1, ord("x"))
        return cpu.spin()

    held = device.lock
    device.lock = Entrance(held)
    with held:  # both have come before either has the slot
        tasks = m.start(ScriptedVcpu(0, writes), ScriptedVcpu(1, writes))
        eventually(lambda: device.lock.came == 2)
    eventually(lambda: {task.account.state for task in tasks} == {State.RUNNING, State.BLOCKED})
    m.scheduler.pause(tasks)  # waits for none who waits
    device.release_waiters()
    m.close()
    device.close()
