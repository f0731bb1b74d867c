"""Calls about service OSes, on a real core with real service OSes, while a guest writes to a UART.

What the guest wrote must stand in the log to the byte, whatever happened to who wrote it there.
"""

import contextlib
import signal

import pytest

from protos import core_pb2 as pb
from tests.control.calls import Code, refused
from tests.microhypervisor.core import PATIENCE, ServiceOs, prints, process_files, until

TEXT = b"all work and no play makes jack a dull boy\n"
TIMES = 1000


class Lab:
    """A core, incarnations of the service OS main, and a guest that writes."""

    def __init__(self, core, directory):
        self.core = core
        self.directory = directory
        self.log = directory / "log"
        self.made = []
        self.start(1).connect()
        self.events = core.watch()

    def start(self, epoch):
        self.made.append(ServiceOs(self.core, self.directory, epoch))
        return self.made[-1]

    def device(self):
        device = pb.DeviceConfig(
            name="com1", service="main", model="uart", spec=f"log:path={self.log}"
        )
        device.ports.base, device.ports.count, device.ports.irq = 0x3F8, 8, 4
        return device

    def write(self, cpu):
        """Start the guest, and wait until something of it has arrived."""
        self.core.create("g", cpu, prints(TEXT, TIMES), devices=[self.device()])
        self.core.call("Start", "g")
        self.written(1)

    def written(self, size):
        while self.log.stat().st_size < size:
            pass

    def core_holds(self, name):
        """Whether the core has a file of that name open."""
        names = []
        for file in process_files(self.core):
            with contextlib.suppress(FileNotFoundError):  # closed in the meantime
                names.append(str(file.readlink()))
        return any(name in open_file for open_file in names)

    def status(self):
        (device,) = self.core.status("g").devices
        return device

    def end(self):
        """Wait for the guest's end: all it wrote is in the log."""
        end = until(self.events, pb.EVENT_GUEST_ENDED, "g")
        assert (end.end_reason, end.exit_status) == (pb.END_EXIT, 0)
        assert self.log.read_bytes() == TEXT * TIMES

    def prepare(self, service):
        return self.core.stub.PrepareService(service.endpoint, timeout=PATIENCE)

    def release(self, patience_ms):
        request = pb.ReleaseRequest(name="main", patience_ms=patience_ms)
        return self.core.stub.ReleaseService(request, timeout=PATIENCE)

    def fail(self, *devices):
        request = pb.FailRequest(service="main", devices=devices, reason="nobody is there")
        return self.core.stub.FailDevices(request, timeout=PATIENCE)

    def close(self):
        for service in self.made:
            service.kill()


@pytest.fixture
def lab(core, tmp_path):
    lab = Lab(core, tmp_path)
    yield lab
    lab.close()


def test_a_standby_takes_over_in_the_middle_of_a_line(lab, cpu):
    standbys = [lab.start(epoch) for epoch in (2, 3, 4)]
    lab.write(cpu)
    for epoch, standby in enumerate(standbys, start=2):
        assert lab.prepare(standby) == pb.ConnectReply(attached=1)
        status = lab.status()
        assert (status.epoch, status.attached, status.standby) == (epoch - 1, True, True)
        lab.made[epoch - 2].kill()
        assert standby.connect() == pb.ConnectReply(attached=1)
        assert (lab.status().epoch, lab.status().standby) == (epoch, False)
        lab.written(lab.log.stat().st_size + 1)
    kinds = [pb.EVENT_DEVICE_OPENED, pb.EVENT_SERVICE_PREPARED, pb.EVENT_SERVICE_CONNECTED]
    for kind in [*kinds, pb.EVENT_DEVICE_ATTACHED, pb.EVENT_DEVICE_RESUMED]:
        event = until(lab.events, kind)
        assert (event.service, event.epoch) == ("main", 2)
    lab.end()


def test_a_release_is_no_loss(lab, cpu):
    standbys = [lab.start(epoch) for epoch in (2, 3)]
    lab.write(cpu)
    for epoch, standby in enumerate(standbys, start=2):
        lab.prepare(standby)
        lab.release(PATIENCE * 1000)
        assert not lab.status().attached
        assert lab.made[epoch - 2].process.poll() is None
        assert standby.connect().attached == 1
    lab.end()
    assert lab.core.status("g").devices[0].dropped == 0


def test_a_release_that_takes_too_long_changes_nothing(lab, cpu):
    lab.write(cpu)
    lab.made[0].process.send_signal(signal.SIGSTOP)
    while not lab.status().stalled_ms:  # requests are there that it does not answer
        pass
    with refused(Code.DEADLINE_EXCEEDED, "g/com1", "30 ms"):
        lab.release(30)
    assert lab.status().attached
    lab.made[0].process.send_signal(signal.SIGCONT)
    lab.end()


def test_a_failing_port_lets_the_guest_go_on_and_says_why(lab, cpu):
    lab.write(cpu)
    lab.made[0].kill()
    assert lab.fail("g/com1").failed == 1
    failing = until(lab.events, pb.EVENT_DEVICE_FAILING)
    assert (failing.guest, failing.device, failing.text) == ("g", "com1", "nobody is there")
    assert lab.status().failing == "nobody is there"
    assert not lab.status().attached
    assert until(lab.events, pb.EVENT_GUEST_ENDED, "g").exit_status == 0
    assert lab.start(2).connect().attached == 1
    assert lab.status().failing == ""
    assert (TEXT * TIMES).startswith(lab.log.read_bytes())


def test_who_waits_for_a_stopped_service_os_does_not_hold_up_another(lab):
    lab.made[0].process.send_signal(signal.SIGSTOP)
    config = lab.core.config("g", "emulated", devices=[lab.device()])
    creating = lab.core.stub.CreateGuest.future(config, timeout=PATIENCE)
    while not lab.core_holds("grant-g/com1"):
        pass
    other = pb.ServiceEndpoint(name="other", epoch=1)
    assert lab.core.stub.ConnectService(other, timeout=PATIENCE) == pb.ConnectReply()
    assert not creating.done()
    lab.made[0].kill()
    assert lab.start(2).connect() == pb.ConnectReply()
    assert creating.exception(PATIENCE).details().startswith("device com1: ")
    lab.core.stub.CreateGuest(config, timeout=PATIENCE)
    assert lab.status().epoch == 2


def test_refusals(lab):
    with refused(Code.INVALID_ARGUMENT, "epoch 1 is not after 1"):
        lab.prepare(lab.made[0])
    with refused(Code.INVALID_ARGUMENT, "needs a name"):
        lab.core.stub.PrepareService(pb.ServiceEndpoint(epoch=1))
    with refused(Code.UNAVAILABLE, "service other is not connected"):
        lab.core.stub.ReleaseService(pb.ReleaseRequest(name="other"))
    with refused(Code.UNAVAILABLE, "service other is not connected"):
        lab.core.stub.FailDevices(pb.FailRequest(service="other"))
    with refused(Code.NOT_FOUND, "no device g/com9"):
        lab.fail("g/com9")
