from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.errors import UserError
from splitvisor.machine import CpuChoice, Device, Guest, Machine, Model, OnReset
from splitvisor.machine_file import interpret, parse, read

HERE = Path("/lab/lab.toml")

FULL = """
[machine]
name = "bench"
services = ["service", "storage"]

[guests.web]
image = "web.elf"
arguments = "depth=8"
memory = "1G"
vcpus = 2
cpu = "emulated"
on_reset = "stop"
rom = "/roms/table.bin"
balloon = true
console = "log:path=logs/web.log"
com1 = false
entropy = { driver = "system", service = "storage" }
disks = ["file:path=a.img,readonly", "memory:size=1M"]

[guests.db]
image = "db.elf"
memory = 8388608
[[guests.db.disks]]
name = "data"
driver = "file"
path = "with, comma.img"
readonly = true
service = "storage"
inline = true
"""


def test_a_full_machine_file():
    assert parse(HERE, FULL) == Machine(
        "bench",
        (
            Guest(
                "web",
                Path("/lab/web.elf"),
                "depth=8",
                1 << 30,
                2,
                CpuChoice.EMULATED,
                (
                    Device("hvc0", Model.CONSOLE, "log:path=/lab/logs/web.log"),
                    Device("rng0", Model.ENTROPY, "system", "storage"),
                    Device("disk0", Model.BLOCK, "file:path=/lab/a.img,readonly"),
                    Device("disk1", Model.BLOCK, "memory:size=1M"),
                ),
                OnReset.STOP,
                Path("/roms/table.bin"),
                balloon=True,
            ),
            Guest(
                "db",
                Path("/lab/db.elf"),
                memory=8 << 20,
                devices=(
                    Device("hvc0", Model.CONSOLE, "terminal"),
                    Device("com1", Model.UART, "terminal"),
                    Device("rng0", Model.ENTROPY, "system"),
                    Device(
                        "data",
                        Model.BLOCK,
                        "file:path=/lab/with\\, comma.img,readonly",
                        "storage",
                        inline_payload=True,
                    ),
                ),
            ),
        ),
        ("service", "storage"),
    )


def test_the_shortest_machine_file_is_named_after_itself():
    machine = parse(HERE, '[guests.a]\nimage = "a.elf"')
    assert (machine.name, machine.services) == ("lab", ("service",))
    assert machine.guests[0].memory == 64 << 20


def guest_with(text):
    return f'[guests.web]\nimage = "web.elf"\n{text}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "guests: there is no guest: add a table like [guests.web]"),
        ("x = 1", "x: no such key (known: guests, machine)"),
        ("[machin]", "machin: no such key, did you mean 'machine'?"),
        ("machine = 1", "machine: must be a table"),
        ("[machine]\nname = 'A b'", "machine.name: machine name 'A b'"),
        ("[machine]\nservices = []", "machine.services: name at least one service OS"),
        ("[machine]\nservices = [1]", "machine.services: must be a string"),
        ("[machine]\nservices = ['a', 'a']", "machine.services: service OS a is there twice"),
        ("[guests.web]", "guests.web.image: name the guest's image file"),
        ("[guests.Web]\nimage = ''", "guests.Web: guest name 'Web'"),
        (guest_with("memry = 1"), "guests.web.memry: no such key, did you mean 'memory'?"),
        (guest_with("memory = '64X'"), "guests.web.memory: '64X' is not a size"),
        (guest_with("memory = 4097"), "guests.web.memory: memory 4097: give a multiple of 4K"),
        (guest_with("memory = true"), "guests.web.memory: must be a string"),
        (guest_with("vcpus = 0"), "guests.web.vcpus: vcpus 0: give 1 to 255"),
        (guest_with("vcpus = '2'"), "guests.web.vcpus: must be a whole number"),
        (guest_with("cpu = 'kwm'"), "guests.web.cpu: 'kwm' is not possible, did you mean 'kvm'?"),
        (guest_with("on_reset = 'halt'"), "guests.web.on_reset: 'halt' is not possible"),
        (guest_with("balloon = 'yes'"), "guests.web.balloon: must be true or false"),
        (guest_with("arguments = ['a']"), "guests.web.arguments: must be a string"),
        (guest_with("console = 3"), "guests.web.console: must be a spec such as"),
        (guest_with("console = true"), "guests.web.console: must be a spec such as"),
        (guest_with("console = 'lgo'"), "guests.web.console: no console driver 'lgo', did you"),
        (guest_with("console = 'log:'"), "guests.web.console: spec 'log:'"),
        (guest_with("disks = 'file:path=a'"), "guests.web.disks: must be a list"),
        (guest_with("disks = ['file']"), "guests.web.disks[0]: block driver 'file' needs"),
        (guest_with("disks = ['file:path=a', 'file:pth=a']"), "guests.web.disks[1]: block driver"),
        (guest_with("disks = [{path = 'a'}]"), "guests.web.disks[0].driver: name the driver: "),
        (guest_with("disks = [{driver = 'file', path = 1.5}]"), "guests.web.disks[0].path: give"),
        (guest_with("entropy = {driver = 'system', inline = 1}"), "guests.web.entropy.inline: "),
        (
            guest_with("entropy = {driver = 'system', service = 'servce'}"),
            "guests.web.entropy.service: no service OS 'servce', did you mean 'service'?",
        ),
        (
            guest_with("disks = ['memory:size=1M', {driver='memory', size='1M', name='disk0'}]"),
            "guests.web: guest web: device disk0 is there twice",
        ),
    ],
)
def test_errors_name_the_key(text, problem):
    with pytest.raises(UserError) as caught:
        parse(HERE, text)
    message = str(caught.value)
    assert message.startswith(f"machine file /lab/lab.toml: {problem}")
    assert message.count("machine file") == 1


def test_what_is_not_toml_is_told_with_its_line():
    with pytest.raises(UserError, match=r"/lab/lab\.toml is not TOML: .*line 2"):
        parse(HERE, "[guests.a]\nimage = web.elf")


def test_relative_paths_start_at_the_file(tmp_path, monkeypatch):
    (tmp_path / "m.toml").write_text(guest_with("disks = ['file:path=a.img']"))
    monkeypatch.chdir(tmp_path)
    guest = read(Path("m.toml")).guests[0]
    assert guest.image == tmp_path / "web.elf"
    assert guest.devices[-1].spec == f"file:path={tmp_path}/a.img"


def test_a_missing_file_and_one_that_is_not_text(tmp_path):
    with pytest.raises(UserError, match=r"machine file .*none\.toml does not exist"):
        read(tmp_path / "none.toml")
    (tmp_path / "m.toml").write_bytes(b"\xff")
    with pytest.raises(UserError, match="is not text in UTF-8"):
        read(tmp_path / "m.toml")


values = st.recursive(
    st.booleans()
    | st.integers()
    | st.text()
    | st.floats()
    | st.sampled_from(["file:path=a", "1M"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
KEYS = ["image", "memory", "vcpus", "cpu", "console", "com1", "entropy", "disks", "rom", "x"]


@given(st.dictionaries(st.sampled_from(KEYS), values))
def test_any_table_is_a_guest_or_a_users_mistake(table):
    try:
        machine = interpret(HERE, {"guests": {"web": table}})
    except UserError as error:
        problem = str(error)
    else:
        assert machine.guests[0].name == "web"
        return
    assert problem.startswith("machine file /lab/lab.toml: guests.web")
