"""Disks that are elsewhere, and die there, under a real guest that judges what it gets."""

import subprocess

import pytest

from drivers import mirror_state
from splitvisor.machine import CpuChoice
from splitvisor.testing.testbed import Testbed
from tests.drivers.nbd_servers import make_image, program, qemu_nbd

SIZE = 4 << 20


@pytest.fixture
def bed(tmp_path, cpu):
    with Testbed(tmp_path, CpuChoice(cpu)) as bed:
        yield bed


def start(bed, disk, passes=0):
    usual = 2 if bed.cpu == "emulated" else 12
    return bed.start("blockcheck", [disk], f"depth=32 passes={passes or usual}")


def works(machine):
    """Wait for more of its requests; whether there will be others."""
    wanted = machine.device("disk0").completions + 64

    def look():
        return not runs(machine) or machine.device("disk0").completions >= wanted or None

    machine.wait_until("64 requests, or the end of the guest", look, 60)
    return runs(machine)


def runs(machine):
    return machine.guest().status().state == 1


def ends_well(machine):
    """The guest passes; the machine ends while its servers are there, for it flushes its disks."""
    verdict = machine.guest().wait()
    assert verdict.passed, verdict.output
    machine.end()


def test_a_server_that_is_killed_and_started_again_under_a_guest(bed, tmp_path):
    image = make_image(tmp_path / "disk.qcow2", SIZE, "qcow2")
    path = tmp_path / "x.sock"
    with qemu_nbd(path, image, image_format="qcow2") as server:
        machine = start(bed, f"nbd:socket={path}")
        assert works(machine)
        for _ in range(3):
            server.kill()
            server.start()
            works(machine)
        ends_well(machine)
        assert machine.outages == [], machine.story.text()


def test_the_service_os_is_killed_over_a_server(bed, tmp_path):
    image = make_image(tmp_path / "disk.img", SIZE)
    path = tmp_path / "x.sock"
    with qemu_nbd(path, image):
        machine = start(bed, f"nbd:socket={path}")
        assert works(machine)
        for _ in range(3):
            machine.fault("kill")
            assert machine.wait_for("recovered").outage.cause.startswith("died by signal 9")
            works(machine)
        ends_well(machine)


def test_both_die_and_the_server_comes_back_last(bed, tmp_path):
    image = make_image(tmp_path / "disk.img", SIZE)
    path = tmp_path / "x.sock"
    with qemu_nbd(path, image) as server:
        machine = start(bed, f"nbd:socket={path}")
        assert works(machine)
        server.kill()
        machine.fault("kill")
        assert "nobody listens there" in machine.wait_for("device-unserved").text
        server.start()
        ends_well(machine)


def test_a_mirror_whose_server_is_killed_and_comes_back(bed, tmp_path):
    """The service OS is killed as well while the server is away."""
    images = [make_image(tmp_path / name, SIZE) for name in ("near.img", "far.img")]
    path, state = tmp_path / "x.sock", tmp_path / "mirror"
    far = f"nbd:socket={path},timeout=200ms"
    spec = f"mirror:children=(({far}),(file:path={images[0]})),state={state},retry=100ms"

    def good():
        return sum(mirror_state.read(state).children.values())

    def wait_for_good(count):
        machine.wait_until(f"{count} good children", lambda: good() == count or None, 60)

    with qemu_nbd(path, images[1]) as server:
        machine = start(bed, spec, passes=400)
        machine.wait_for_standby()
        wait_for_good(2)
        for _ in range(2):
            machine.wait_for_requests(64)
            server.kill()
            wait_for_good(1)
            machine.wait_for_requests(64)
            machine.fault("kill")
            machine.wait_for("recovered")
            machine.wait_for_requests(64)
            assert good() == 1
            server.start()
            wait_for_good(2)
        machine.wait_for_requests(64)
        assert runs(machine), machine.guest().output()
        machine.end()
        command = [program("qemu-img"), "compare", "-f", "raw", *images]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Images are identical" in done.stdout, done.stdout + done.stderr


def test_a_guest_passes_on_what_is_left_of_a_mirror(bed, tmp_path):
    images = [make_image(tmp_path / name, SIZE) for name in ("near.img", "far.img")]
    path = tmp_path / "x.sock"
    far = f"nbd:socket={path},timeout=200ms"
    spec = f"mirror:children=((file:path={images[0]}),({far})),state={tmp_path / 'mirror'}"
    with qemu_nbd(path, images[1]) as server:
        machine = start(bed, f"{spec},retry=50ms")
        assert works(machine)
        server.kill()
        ends_well(machine)
        assert machine.outages == [], machine.story.text()
