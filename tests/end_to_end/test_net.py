"""Guests on networks: with each other, with the host's own stack, through passt; and service OSes
that die under the traffic.

The guest `net` judges what comes back: nothing broken, nothing overtaken. What an outage may do is
lose frames, and send those that were in flight once more.
"""

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from splitvisor.checks.clock import cycles_per_second
from splitvisor.machine import CpuChoice
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.testbed import Testbed, guest_image
from tests.end_to_end.conftest import needs_kvm

RESULT = re.compile(r"net: result (.*?)\r?\n")
READY = re.compile(r"net: ready (\S+) mtu 1500")
PATIENCE = 60.0


@pytest.fixture
def bed(tmp_path, cpu):
    with Testbed(tmp_path, CpuChoice(cpu)) as bed:
        yield bed


@pytest.fixture
def hurry(cpu):
    """How much a CPU can be asked for."""
    return 1 if cpu == "emulated" else 100


def guest(name, cpu, words, nets):
    return f"""
[guests.{name}]
image = "{guest_image("net")}"
arguments = "{words}"
cpu = "{cpu}"
console = "log:path={name}.log"
com1 = false
entropy = false
nets = [{", ".join(f'"{net}"' for net in nets)}]
"""


def start(bed, *guests, **settings):
    """A machine of (name, words, net) each."""
    text = "".join(guest(name, bed.cpu.value, words, [net]) for name, words, net in guests)
    for setting, value in settings.items():
        text += f"[services.service]\n{setting} = {value}\n"
    (bed.folder / "test.toml").write_text(text)
    return bed.up(bed.folder / "test.toml")


def ping(count, depth=16, more=""):
    return f"mode=ping ip=10.0.0.3 peer=10.0.0.2 count={count} depth={depth} " + (
        f"hz={cycles_per_second()} {more}"
    )


def judged(machine, name="b"):
    """What a guest that pings says at its end, which is good."""
    said = machine.guest(name).wait(PATIENCE)
    assert said.status == 0, said.output
    assert "net: PASS" in said.output
    words = RESULT.search(said.output)
    assert words, said.output
    return {key: int(value) for key, value in (w.split("=") for w in words[1].split())}


def test_two_guests_on_a_switch(bed, hurry):
    machine = start(
        bed,
        ("a", "mode=echo", "switch:name=lan"),
        ("b", ping(100 * hurry, more="size=256"), "switch:name=lan"),
    )
    result = judged(machine)
    assert result["received"] == result["sent"] == 100 * hurry
    assert result["most"] == 1
    macs = [READY.search(machine.guest(name).output())[1] for name in "ab"]
    assert len(set(macs)) == 2


@contextmanager
def running(folder, cpu, number):
    """`splitvisor run` of the guest that echoes, under whatever name it gets; its address."""
    log = folder / f"{number}.log"
    options = ["--net", "switch:name=lan", "--console", f"log:path={log}", "--serial", "null"]
    words = ["--run-root", folder / "r", "run", guest_image("net"), "--cpu", cpu, *options]
    command = [sys.executable, "-m", "splitvisor", *words, "--", "mode=echo"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as machine:
        deadline = time.monotonic() + PATIENCE
        while not (log.exists() and (found := READY.search(log.read_text()))):
            assert machine.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        try:
            yield found[1]
        finally:
            machine.terminate()


def test_machines_of_one_image_have_addresses_of_their_own_and_keep_them(tmp_path, cpu):
    with running(tmp_path, cpu, 1) as first, running(tmp_path, cpu, 2) as second:
        assert first != second
    with running(tmp_path, cpu, 3) as again:
        assert again == first


def test_jumbo_frames_in_small_mergeable_buffers(bed, hurry):
    jumbo = "switch:name=lan,mtu=9000"
    machine = start(
        bed,
        ("a", "mode=echo buffer=1024 merge=1", jumbo),
        ("b", ping(20 * hurry, 4, "size=8000 buffer=512 merge=1"), jumbo),
    )
    assert judged(machine)["received"] == 20 * hurry


def test_a_swap_that_the_guest_could_not_follow_is_refused(bed):
    machine = start(
        bed,
        ("a", "mode=echo", "switch:name=lan"),
        ("b", ping(1_000_000, 4, "patience=500"), "switch:name=lan"),
    )
    machine.wait_for_requests(64, "b/net0")
    before = machine.device("b/net0").spec
    for option, cure in (("mtu=1400", "say mtu=1500"), ("mac=52:54:00:12:34:56", "say mac=")):
        with pytest.raises(MachineFailure, match=f"the guest knows .*{cure}"):
            machine.swap("b/net0", f"switch:name=lan,{option}")
        assert machine.device("b/net0").spec == before
        machine.wait_for_requests(64, "b/net0")
    machine.swap("b/net0", "switch:name=lan,mtu=1500")
    machine.wait_for_requests(64, "b/net0")
    machine.wait_for_standby()
    machine.fault("kill")
    assert machine.wait_for("recovered").outage.warm
    machine.wait_for_requests(64, "b/net0")


def test_what_is_on_another_switch_is_not_heard(bed):
    machine = start(
        bed,
        ("a", "mode=echo", "switch:name=here"),
        ("b", ping(10, more="patience=100"), "switch:name=there"),
    )
    machine.guest("b").says("net: ready")
    machine.wait_for_requests(3, "b/net0")  # questions that nobody answers
    assert "net: start" not in machine.guest("b").output()


@pytest.mark.kvm
@needs_kvm
def test_a_bad_network_is_as_bad_as_it_is_told_to_be(tmp_path):
    bad = "faulty:seed=7,loss=0.05,duplicate=0.05,reorder=0.05,delay=1ms,child=(switch:name=lan)"
    with Testbed(tmp_path, CpuChoice.KVM) as bed:
        words = ping(2000, 64, "patience=200 reorder=1")
        machine = start(bed, ("a", "mode=echo", "switch:name=lan"), ("b", words, bad))
        result = judged(machine)
    assert 50 < result["lost"] < 400
    assert 50 < result["doubled"] < 400
    assert result["reordered"] > 50
    assert result["most"] <= 4
    assert result["broken"] == 0


def test_a_service_os_that_is_killed_under_the_traffic(bed, hurry):
    count, kills = (3000, 1) if hurry == 1 else (40_000, 4)
    machine = start(
        bed,
        ("a", "mode=echo", "switch:name=lan"),
        ("b", ping(count, 32, "patience=500"), "switch:name=lan"),
    )
    machine.guest("b").says("net: start")
    for _ in range(kills):  # the first of them under the traffic, how ever quick that is
        machine.fault("kill")
        machine.wait_for("recovered")
        machine.wait_for_standby()
    result = judged(machine)
    assert result["broken"] == result["reordered"] == 0
    assert result["lost"] <= kills * 32
    # sent twice by the one who asks, and each of these twice by the one who answers, for each death
    assert result["most"] <= 4


@pytest.mark.parametrize(
    "point", ["after-receive", "after-execute", "before-reply", "after-reply", "mid-batch"]
)
@pytest.mark.kvm
@needs_kvm
def test_a_death_at_any_point_of_a_frame(tmp_path, point):
    with Testbed(tmp_path, CpuChoice.KVM) as bed:
        machine = start(
            bed,
            ("a", "mode=echo", "switch:name=lan"),
            ("b", ping(20_000, 32, "patience=500"), "switch:name=lan"),
            failpoints="true",
        )
        machine.guest("b").says("net: start")
        machine.fault("kill", at=point, device="b/net0", nth=3)
        machine.wait_for("recovered")
        result = judged(machine)
    assert result["broken"] == result["reordered"] == 0
    assert result["most"] <= 4


@pytest.mark.kvm
@needs_kvm
def test_completions_that_are_lost_are_noticed(tmp_path):
    with Testbed(tmp_path, CpuChoice.KVM) as bed:
        machine = start(
            bed,
            ("a", "mode=echo", "switch:name=lan"),
            ("b", ping(20_000, 32, "patience=500"), "switch:name=lan"),
            failpoints="true",
        )
        machine.guest("b").says("net: start")
        machine.fault("drop", at="before-reply", device="b/net0")
        machine.wait_for("recovered")
        result = judged(machine)
    assert result["broken"] == result["reordered"] == 0


def test_a_switch_goes_on_through_an_upgrade(bed, hurry):
    machine = start(
        bed,
        ("a", "mode=echo", "switch:name=lan"),
        ("b", ping(300 if hurry == 1 else 20_000, 32, "patience=500"), "switch:name=lan"),
    )
    machine.guest("b").says("net: start")
    machine.upgrade()
    result = judged(machine)
    assert result["broken"] == result["reordered"] == 0
    assert result["most"] == 1


# The host's own stack, in a network namespace in which we may do everything.


@pytest.fixture
def namespace():
    """A command that runs others where there is a TAP interface tap0 with the address 10.0.0.1."""
    for needed, package in (("ip", "iproute2"), ("unshare", "util-linux")):
        if shutil.which(needed) is None:
            pytest.skip(f"no {needed}: apt-get install {package}")
    script = (
        "ip tuntap add dev tap0 mode tap && ip addr add 10.0.0.1/24 dev tap0 && "
        "ip link set tap0 up && ip link set lo up && echo ready && exec cat"
    )
    holder = subprocess.Popen(
        ["unshare", "--map-root-user", "--net", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with holder:
        if holder.stdout.readline() != "ready\n":
            pytest.skip(f"no TAP interface in a network namespace: {holder.communicate()[1]}")
        yield [
            *("nsenter", f"--target={holder.pid}", "--user", "--net", "--preserve-credentials"),
            "--",
        ]
        holder.communicate("")


DATAGRAMS = """
import socket, sys
count = int(sys.argv[1])
peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.settimeout(1)
peer.connect(("10.0.0.2", 7))
came = 0
for number in range(count):
    data = number.to_bytes(4, "big") * (1 + number % 360)
    for _ in range(20):
        peer.send(data)
        try:
            answer = peer.recv(65536)
            while answer[:4] != data[:4]:
                answer = peer.recv(65536)
        except TimeoutError:
            continue
        assert answer == data
        came += 1
        break
print(came)
"""


@contextmanager
def echo_on_tap(splitvisor, namespace, cpu, guest, *words):
    splitvisor.wrapper = namespace
    with splitvisor.start(
        *("run", guest("net"), "--cpu", cpu, "--net", "tap:ifname=tap0", "--verbose", *words),
        *("--", "mode=echo"),
    ) as machine:
        machine.until("stands by")
        yield machine
        machine.signal(2)
        machine.end()


def test_the_hosts_stack_reaches_a_guest_over_tap(splitvisor, namespace, cpu, guest):
    if shutil.which("ping") is None:
        pytest.skip("no ping: apt-get install iputils-ping")
    with echo_on_tap(splitvisor, namespace, cpu, guest):
        said = _in(namespace, "ping", "-c", "5", "-i", "0.2", "-W", "10", "10.0.0.2")
        assert "5 received" in said or "5 packets received" in said
        count = 20 if cpu == "emulated" else 300
        assert int(_in(namespace, sys.executable, "-c", DATAGRAMS, str(count))) == count


def test_tap_is_taken_over_after_a_death(splitvisor, namespace, cpu, guest):
    count = 20 if cpu == "emulated" else 200
    with echo_on_tap(splitvisor, namespace, cpu, guest) as machine:
        for _ in range(2):
            code, _, errors = splitvisor("fault", "kill")
            assert code == 0, errors
            assert int(_in(namespace, sys.executable, "-c", DATAGRAMS, str(count))) == count
        assert machine.process.poll() is None


def test_a_capture_holds_what_went_over_tap_and_spans_deaths(
    splitvisor, namespace, cpu, guest, tmp_path
):
    if shutil.which("tcpdump") is None:
        pytest.skip("no tcpdump: apt-get install tcpdump")
    capture = tmp_path / "net.pcap"
    splitvisor.wrapper = namespace
    net = f"pcap:path={capture},child=(tap:ifname=tap0)"
    with splitvisor.start(
        *("run", guest("net"), "--cpu", cpu, "--net", net, "--verbose", "--", "mode=echo")
    ) as machine:
        machine.until("stands by")
        _in(namespace, sys.executable, "-c", DATAGRAMS, "10")
        assert splitvisor("fault", "kill")[0] == 0
        _in(namespace, sys.executable, "-c", DATAGRAMS, "10")
        machine.signal(2)
        machine.end()
    said = subprocess.run(
        ["tcpdump", "-n", "-r", capture, "udp"], capture_output=True, text=True, check=True
    )
    lines = said.stdout.splitlines()
    assert sum("> 10.0.0.2.7: UDP" in line for line in lines) >= 20
    assert sum(" 10.0.0.2.7 > " in line for line in lines) >= 20
    assert "truncated" not in said.stderr


def test_a_tap_that_is_taken_is_refused_in_one_line(splitvisor, namespace, guest):
    with echo_on_tap(splitvisor, namespace, "emulated", guest):
        code, _, errors = splitvisor(
            *("run", guest("net"), "--cpu", "emulated", "--name", "second"),
            *("--net", "tap:ifname=tap0"),
        )
    assert code == 2
    assert "TAP interface tap0 is in use by another process" in errors


def _in(namespace, *command):
    done = subprocess.run(
        [*namespace, *command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def echo_server():
    """A UDP port of the host's loopback that answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve():
            with suppress(OSError):
                while True:
                    data, peer = server.recvfrom(65536)
                    if not data:
                        return
                    server.sendto(data, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.sendto(b"", server.getsockname())
        thread.join()


def test_the_outside_through_passt(bed, hurry):
    if shutil.which("passt") is None:
        pytest.skip("no passt: apt-get install passt")
    gateway = _gateway()
    address = gateway.rpartition(".")[0] + ".77"
    with echo_server() as port:
        words = f"mode=ping ip={address} peer={gateway} port={port} depth=4 patience=2000"
        machine = start(
            bed, ("b", f"{words} count={20 * hurry} hz={cycles_per_second()}", "user:loopback")
        )
        machine.guest("b").says("net: start")
        machine.fault("kill")
        result = judged(machine)
    assert result["received"] > 15 * hurry
    assert result["broken"] == 0


def _gateway():
    """The host's, which passt wants there to be."""
    for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if fields[1] == "00000000" and fields[2] != "00000000":
            return ".".join(str(b) for b in bytes.fromhex(fields[2])[::-1])
    return pytest.skip("no default route on this host, and passt needs one")
