"""The drivers that come with splitvisor keep the contract that is demanded of anybody's."""

import os
import shutil
import subprocess

import pytest

from drivers import registry
from splitvisor.conformance.contract import Outcome
from splitvisor.testing.conformance import assert_conforms
from tests.drivers.nbd_servers import make_image, qemu_nbd

SIZE = 4 << 20
FILE = "file:path={}/a.img"

SPECS = {
    "block.file": FILE,
    "block.file, direct": f"{FILE},direct",
    "block.file, read-only": f"{FILE},readonly",
    "block.memory": "memory:size=4M",
    "block.null": "null:size=4M",
    "block.throttle": f"throttle:iops=1000000,child=({FILE})",
    "block.overlay": "overlay:base=(file:path={}/a.img,readonly),path={}/a.top",
    "block.encrypt": "encrypt:key={}/key,child=(file:path={}/a.img)",
    "block.encrypt, discard": "encrypt:key={}/key,child=(file:path={}/a.img),discard",
    "block.faulty": f"faulty:child=({FILE})",
    "block.mirror": "mirror:children=((file:path={}/a.img),(file:path={}/b.img)),state={}/state",
    "block.powercut": "powercut:path={}/a.img",
    "block.migrate": "migrate:source=(file:path={}/a.img),target=(file:path={}/b.img)",
    "block, a stack": (
        "throttle:iops=1000000,child=(encrypt:key={}/key,child="
        "(overlay:base=(file:path={}/a.img,readonly),path={}/a.top,cluster=4K),discard)"
    ),
    "console.null": "null",
    "console.log": "log:path={}/a.log",
    "console.terminal": "terminal",
    "console.unix": "unix:path={}/a.sock",
    "console.pty": "pty:link={}/a.pty",
    "entropy.system": "system",
    "entropy.seeded": "seeded:seed=7",
    "entropy.limit": "limit:bps=64M,child=(system)",
    "clock.system": "system",
    "clock.frozen": "frozen:at=2030-01-01T00:00:00",
    "clock.skewed": "skewed:by=-3600s,rate=1.01",
    "folder.directory": "directory:path={}",
    "folder.directory, read-only": "directory:path={},readonly",
    "net.null": "null",
    "net.switch": "switch:name=lan",
    "net.pcap": "pcap:path={}/a.pcap,child=(switch:name=lan)",
    "net.faulty": "faulty:seed=7,loss=0.1,delay=1ms,child=(switch:name=lan)",
}


@pytest.fixture
def folder(tmp_path):
    for name in ("a.img", "b.img"):
        (tmp_path / name).write_bytes(bytes(SIZE))
    (tmp_path / "key").write_bytes(os.urandom(64))
    return tmp_path


@pytest.mark.parametrize("name", SPECS)
def test_it_keeps_the_contract(name, folder):
    kind = name.partition(",")[0].partition(".")[0]
    spec = SPECS[name].replace("{}", str(folder))
    results = assert_conforms(kind, spec)
    assert [r for r in results if r.outcome is Outcome.PASSED]


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_disk_of_qemu_keeps_the_contract(image_format, folder):
    path = folder / "x.sock"
    image = folder / "a.img"
    if image_format == "qcow2":
        image = make_image(folder / "a.qcow2", SIZE, image_format)
    with qemu_nbd(path, image, "--discard=unmap", image_format=image_format):
        assert_conforms("block", f"nbd:socket={path}")


def test_a_port_of_the_hosts_keeps_the_contract():
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK) or os.geteuid():
        pytest.skip("a TAP interface is made by root, with /dev/net/tun")
    name = f"conf{os.getpid()}"
    try:
        assert_conforms("net", f"tap:ifname={name}")
    finally:
        subprocess.run(["ip", "link", "delete", name], check=False)


def test_the_outside_keeps_the_contract():
    if shutil.which("passt") is None:
        pytest.skip("passt is not installed: apt-get install passt")
    assert_conforms("net", "user")


def test_no_driver_is_forgotten():
    """Those of this list, those above, and the end of a copy, which is tried with block.migrate."""
    tested = {name.partition(",")[0] for name in SPECS} | {"block.nbd", "net.tap", "net.user"}
    kinds = ("block", "console", "entropy", "clock", "net", "folder")
    there = {f"{kind}.{name}" for kind in kinds for name in registry.names(kind)}
    assert there - tested <= {"block.pivot"}
