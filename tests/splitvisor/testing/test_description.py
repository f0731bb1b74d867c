"""What a test asks for is what the machine file says."""

from pathlib import Path

import pytest

from splitvisor import machine_file
from splitvisor.machine import CpuChoice, Model, ServiceSettings
from splitvisor.testing.description import Guest, console_of, tables, text


def test_a_machine_file_that_reads_as_it_was_meant(tmp_path):
    guests = [
        Guest(
            "web",
            Path("/images/storm"),
            'seed=3 name="x"',
            ["file:path=disk.img,readonly", "memory:size=1M"],
            memory="16M",
            cpu=CpuChoice.EMULATED,
            service="b",
            com1=True,
            outage="error after 2s",
        ),
        Guest("other", Path("/images/hello"), service="a", logs="lab.other"),
    ]
    settings = {"a": ServiceSettings(), "b": ServiceSettings(False, False, True)}
    path = tmp_path / "m.toml"
    machine = machine_file.parse(path, text("lab", guests, settings))
    assert (machine.name, machine.services) == ("lab", ("a", "b"))
    assert {name: machine.settings_of(name) for name in machine.services} == settings
    web, other = machine.guests
    assert (web.image, web.arguments) == (Path("/images/storm"), 'seed=3 name="x"')
    assert (web.memory, web.cpu) == (16 << 20, CpuChoice.EMULATED)
    assert [device.name for device in web.devices] == ["hvc0", "com1", "rng0", "disk0", "disk1"]
    assert {device.service for device in web.devices} == {"b"}
    assert {device.outage.after_ns for device in web.devices} == {2_000_000_000}
    specs = {device.name: device.spec for device in web.devices}
    assert specs["disk0"] == f"file:path={tmp_path}/disk.img,readonly"
    assert specs["com1"] == f"log:path={tmp_path}/web.com1.log"
    assert [device.model for device in other.devices] == [Model.CONSOLE, Model.ENTROPY]
    assert other.devices[0].spec == f"log:path={tmp_path}/lab.other.log"
    assert {device.service for device in other.devices} == {"a"}


def test_a_machine_file_is_read_without_its_drivers(tmp_path):
    path = tmp_path / "m.toml"
    path.write_text(text("lab", [Guest("web", Path("x"), disks=["lent:size=1M"])], {}))
    name, guests = tables(path)
    assert (name, list(guests)) == ("lab", ["web"])
    assert guests["web"]["disks"] == [{"driver": "lent", "service": "service", "size": "1M"}]


@pytest.mark.parametrize(
    ("console", "file"),
    [
        ({"driver": "log", "path": "lab.web.log"}, "lab.web.log"),
        ({"driver": "unix", "path": "web.sock"}, "web.log"),
        ({"driver": "log", "path": 3}, "web.log"),
        ("log:path=web.log", "web.log"),
        (None, "web.log"),
    ],
)
def test_where_a_console_is_heard(console, file):
    assert console_of("web", {"console": console}) == file


@pytest.mark.parametrize("words", ["[machine", "machine = 3", "guests = 3", "\udcff", None])
def test_what_is_wrong_with_a_machine_file_is_for_others_to_tell(tmp_path, words):
    path = tmp_path / "m.toml"
    if words is not None:
        path.write_text(words, errors="surrogateescape")
    assert tables(path) == ("m", {})
    path.write_text("[guests]\nweb = 3\n")
    assert tables(path) == ("m", {"web": {}})
