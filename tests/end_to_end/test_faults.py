"""`splitvisor fault` on a machine of several service OSes, each of which has its own devices."""

import pytest

from splitvisor.machine import CpuChoice, ServiceSettings
from splitvisor.testing.description import Guest
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.testbed import Testbed, guest_image

DISK = "memory:size=1M"


def test_a_fault_of_a_device_is_for_the_service_os_that_serves_it(tmp_path):
    guests = [
        Guest(name, guest_image("echo"), "", [DISK], cpu=CpuChoice.EMULATED, service=service)
        for name, service in (("web", "left"), ("db", "right"))
    ]
    settings = ServiceSettings(standby=False, failpoints=True)
    with Testbed(tmp_path) as bed:
        machine = bed.start_all("two", guests, {"left": settings, "right": settings})
        meant = machine.service("left")
        for service in ("left", ""):
            reply = machine.fault("hang", device="web/disk0", service=service)
            assert (reply.pid, reply.epoch) == (meant.pid, meant.epoch)
        refused = "device web/disk0 is served by service OS left, not by right$"
        with pytest.raises(MachineFailure, match=refused):
            machine.fault("hang", device="web/disk0", service="right")
        with pytest.raises(MachineFailure, match="no service OS 'rigth', did you mean 'right'"):
            machine.fault("hang", device="web/disk0", service="rigth")
        assert (len(machine.faults("left")), machine.faults("right")) == (2, [])
