"""Guests whose ports a real service OS serves, and dies serving."""

import contextlib

import grpc
import pytest

from protos import core_pb2 as pb
from tests.microhypervisor import core as guests
from tests.microhypervisor.core import CPUS, PATIENCE, Core, ServiceOs, until

Code = grpc.StatusCode
LINE = b"what the guest says, once and in order\n"


@pytest.fixture
def serve(core, tmp_path):
    """A function that starts the next service OS and announces it."""
    started = []

    def start():
        started.append(ServiceOs(core, tmp_path, len(started) + 1))
        reply = started[-1].connect()
        assert not reply.problems
        return started[-1]

    yield start
    core.close()
    for service in started:
        service.kill()


@pytest.fixture(scope="module")
def served_core(tmp_path_factory):
    """A core with a service OS, for tests that leave no guest."""
    directory = tmp_path_factory.mktemp("core")
    core = Core(directory)
    service = ServiceOs(core, directory, 1)
    service.connect()
    yield core
    core.close()
    service.kill()


def uart(path, **fields):
    ports = pb.PortRange(base=0x3F8, count=8, irq=4)
    fields = {"model": "uart", "spec": f"log:path={path}", **fields}
    return pb.DeviceConfig(name="com1", service="main", ports=ports, **fields)


def device_of(core, name):
    (device,) = core.status(name).devices
    return device


def test_the_last_line_is_out_before_the_guest_counts_as_ended(core, serve, cpu, tmp_path):
    serve()
    log = tmp_path / "log"
    end = core.run("talker", cpu, guests.prints(LINE), devices=[uart(log)])
    assert (end.end_reason, end.exit_status) == (pb.END_EXIT, 0)
    assert log.read_bytes() == LINE
    device = device_of(core, "talker")
    assert (device.requests, device.completions) == (len(LINE), len(LINE))
    assert (device.epoch, device.attached, device.in_flight) == (1, True, 0)


def test_a_guest_reads_what_the_service_os_answers(core, serve, cpu, tmp_path):
    serve()
    end = core.run("reader", cpu, guests.READS_LSR, devices=[uart(tmp_path / "log")])
    assert end.exit_status == 0x60  # the transmitter is empty


def test_output_is_exact_however_often_the_service_os_dies(core, serve, cpu, tmp_path):
    service = serve()
    log, times = tmp_path / "log", 60
    core.create("talker", cpu, guests.prints(LINE, times), devices=[uart(log)])
    events = core.watch()
    core.call("Start", "talker")
    for deaths in range(1, 4):
        while log.stat().st_size < deaths * 300:
            pass
        service.kill()
        lost = until(events, pb.EVENT_DEVICE_LOST)
        assert (lost.guest, lost.device, lost.epoch) == ("talker", "com1", deaths)
        service = serve()
    while core.status("talker").state != pb.GUEST_ENDED:  # perhaps before the last death
        pass
    assert core.status("talker").exit_status == 0
    assert log.read_bytes() == LINE * times
    device = device_of(core, "talker")
    assert (device.requests, device.completions) == (len(LINE) * times,) * 2
    assert device.epoch == 4


def test_a_guest_that_waits_for_its_service_os_is_paused_resumed_and_stopped(
    core, serve, cpu, tmp_path
):
    service = serve()
    core.create("reader", cpu, guests.READS_LSR, devices=[uart(tmp_path / "log")])
    events = core.watch()
    service.kill()
    until(events, pb.EVENT_DEVICE_LOST)
    core.call("Start", "reader")
    while core.status("reader").vcpus[0].state != "blocked":
        pass
    assert core.call("Pause", "reader").state == pb.GUEST_PAUSED
    serve()  # its answer comes while it is paused
    while device_of(core, "reader").in_flight:
        pass
    assert core.status("reader").state == pb.GUEST_PAUSED
    core.call("Resume", "reader")
    assert until(events, pb.EVENT_GUEST_ENDED).exit_status == 0x60


def test_stopping_a_guest_does_not_wait_for_a_dead_service_os(core, serve, cpu, tmp_path):
    service = serve()
    core.create("reader", cpu, guests.READS_LSR, devices=[uart(tmp_path / "log")])
    events = core.watch()
    service.kill()
    until(events, pb.EVENT_DEVICE_LOST)
    core.call("Start", "reader")
    while core.status("reader").vcpus[0].state != "blocked":
        pass
    assert core.call("Stop", "reader").end_reason == pb.END_STOPPED
    core.call("Destroy", "reader")
    assert serve().connect  # nothing of it is left to attach


def test_devices_attach_again_to_each_new_service_os_even_before_the_start(
    core, serve, cpu, tmp_path
):
    first = serve()
    log = tmp_path / "log"
    core.create("talker", cpu, guests.prints(LINE), devices=[uart(log)])
    first.kill()
    second = serve()
    assert device_of(core, "talker").epoch == 2
    with pytest.raises(grpc.RpcError) as raised:
        second.connect()
    assert raised.value.code() is Code.INVALID_ARGUMENT
    events = core.watch()
    core.call("Start", "talker")
    until(events, pb.EVENT_GUEST_ENDED)
    assert log.read_bytes() == LINE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": "lgo:path=x"}, "log"),
        ({"spec": "log:path=/nonexistent/log"}, "/nonexistent/log"),
        ({"spec": "log:pth=x"}, "path"),
        ({"model": "teleprinter"}, "teleprinter"),
        ({"model": "console"}, "port device"),
    ],
)
def test_a_device_that_is_refused_leaves_no_guest(served_core, tmp_path, change, words):
    config = served_core.config("talker", "emulated", devices=[uart(tmp_path / "log", **change)])
    with pytest.raises(grpc.RpcError) as raised:
        served_core.stub.CreateGuest(config, timeout=PATIENCE)
    assert raised.value.code() in (Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT)
    text = raised.value.details()
    assert text.startswith("device com1: ")
    assert words in text
    assert "\n" not in text
    assert not served_core.stub.ListGuests(pb.ListRequest()).guests


PLACES = {
    "taken ports": [
        {"ports": pb.PortRange(base=0x3F8, count=8, irq=4)},
        {"ports": pb.PortRange(base=0x3FF, count=1, irq=3)},
    ],
    "no ports": [{"ports": pb.PortRange(base=0x3F8, count=0, irq=4)}],
    "ports beyond": [{"ports": pb.PortRange(base=0xFFFF, count=2, irq=4)}],
    "no such interrupt": [{"ports": pb.PortRange(base=0x3F8, count=8, irq=24)}],
    "a page in RAM": [{"virtio": pb.VirtioMmio(base=0x1000, irq=5)}],
    "half a page": [{"virtio": pb.VirtioMmio(base=0xD0000800, irq=5)}],
    "nowhere": [{}],
    "the same name": [
        {"ports": pb.PortRange(base=0x3F8, count=8, irq=4)},
        {"ports": pb.PortRange(base=0x2F8, count=8, irq=3)},
    ],
}


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES.keys())
def test_devices_that_cannot_be_where_they_are_put_leave_no_guest(
    served_core, cpu, tmp_path, places
):
    devices = []
    for number, place in enumerate(places):
        device = uart(tmp_path / "log")
        device.ClearField("ports")
        if "virtio" in place:
            device.model, device.spec = "entropy", "system"
        device.MergeFrom(pb.DeviceConfig(**place))
        if place and places is not PLACES["the same name"]:
            device.name = f"device{number}"
        devices.append(device)
    config = served_core.config("odd", cpu, devices=devices)
    with pytest.raises(grpc.RpcError) as raised:
        served_core.stub.CreateGuest(config, timeout=PATIENCE)
    assert raised.value.code() is Code.INVALID_ARGUMENT, raised.value.details()
    assert not served_core.stub.ListGuests(pb.ListRequest()).guests
    with contextlib.suppress(grpc.RpcError):
        served_core.call("Destroy", "odd")
    good = served_core.config("good", cpu, devices=[uart(tmp_path / "log")])
    assert served_core.stub.CreateGuest(good, timeout=PATIENCE).cpu == CPUS[cpu]
    served_core.call("Destroy", "good")


def test_guests_with_devices_come_and_go_and_leave_nothing(core, serve, cpu, tmp_path):
    serve()

    def cycle():
        core.run("talker", cpu, guests.prints(b"x"), devices=[uart(tmp_path / "log")])
        core.call("Destroy", "talker")

    def descriptors():
        return len(list(guests.process_files(core)))

    for _ in range(5):
        cycle()
    before = descriptors()
    for _ in range(20):
        cycle()
    assert descriptors() <= before + 2  # gRPC closes its sockets in its own time
