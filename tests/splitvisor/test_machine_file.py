import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.parameters import VcpuParameters
from splitvisor.errors import UserError
from splitvisor.machine import (
    CpuChoice,
    Device,
    Guest,
    Irqchip,
    Machine,
    Model,
    OnReset,
    OutagePolicy,
    Scheduling,
    ServiceSettings,
    WhenOut,
)
from splitvisor.machine_file import interpret, parse, read

HERE = Path("/lab/lab.toml")
HOST = sorted(os.sched_getaffinity(0))
MS = 1_000_000
PAUSE = OutagePolicy(WhenOut.PAUSE, 500 * MS)

FULL = """
[machine]
name = "bench"
services = ["service", "storage"]
memory_budget = "2G"

[scheduler]
policy = "deadline"
slice = "5ms"
pcpus = 3

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
entropy = { driver = "system", service = "storage", outage = "hold" }
outage = "pause after 500ms"
disks = ["file:path=a.img,readonly", "memory:size=1M"]
nets = ["switch:name=lan", { driver = "tap", ifname = "tap0", mac = "52:54:00:12:34:56" }]

[services.storage]
standby = false
failpoints = true

[guests.db]
image = "db.elf"
memory = 8388608
irqchip = "kernel"
schedule = { weight = 512, cap = 50, budget = "2ms", period = "10ms", affinity = [2, 0] }
[[guests.db.disks]]
name = "data"
driver = "file"
path = "with, comma.img"
readonly = true
service = "storage"
inline = true
outage = "error after 2s"
"""


TAP = "tap:ifname=tap0,mac=52:54:00:12:34:56"


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
                    Device("hvc0", Model.CONSOLE, "log:path=/lab/logs/web.log", outage=PAUSE),
                    Device("rng0", Model.ENTROPY, "system", "storage"),
                    Device("disk0", Model.BLOCK, "file:path=/lab/a.img,readonly", outage=PAUSE),
                    Device("disk1", Model.BLOCK, "memory:size=1M", outage=PAUSE),
                    Device("net0", Model.NET, "switch:name=lan", outage=PAUSE),
                    Device("net1", Model.NET, TAP, outage=PAUSE),
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
                        outage=OutagePolicy(WhenOut.ERROR, 2000 * MS),
                    ),
                ),
                irqchip=Irqchip.KERNEL,
                schedule=VcpuParameters(512, 50, 2 * MS, 10 * MS, frozenset({0, 2})),
            ),
        ),
        ("service", "storage"),
        Scheduling("deadline", 5 * MS, tuple((HOST * 3)[:3])),
        2 << 30,
        {"storage": ServiceSettings(standby=False, failpoints=True)},
    )


def test_clocks_and_devices_of_other_kinds(lent):
    lent({"virtio.abacus": "abacus:Abacus"}, "abacus", ABACUS)
    text = """
    [guests.web]
    image = "web.elf"
    console = false
    com1 = false
    entropy = false
    clock = "frozen:at=2030-01-01"
    virtio_clock = { driver = "skewed", rate = 2, service = "service" }
    devices = ["abacus", { driver = "abacus", beads = 10, name = "large" }]
    """
    (guest,) = parse(HERE, text).guests
    assert guest.devices == (
        Device("rtc0", Model.RTC, "frozen:at=2030-01-01"),
        Device("clock0", Model.CLOCK, "skewed:rate=2"),
        Device("device0", Model.VIRTIO, "abacus"),
        Device("large", Model.VIRTIO, "abacus:beads=10"),
    )


def test_folders_are_mounted_by_their_names_or_by_the_tag_that_they_are_given():
    folders = """[
        "directory:path=share",
        { driver = "directory", path = "/srv", readonly = true, name = "docs" },
        "directory:path=/home,tag=home",
    ]"""
    folders = parse(HERE, guest_with(f"folders = {folders}")).guests[0].devices[-3:]
    assert folders == (
        Device("share0", Model.FOLDER, "directory:path=/lab/share,tag=share0"),
        Device("docs", Model.FOLDER, "directory:path=/srv,readonly,tag=docs"),
        Device("share2", Model.FOLDER, "directory:path=/home,tag=home"),
    )
    with pytest.raises(
        UserError, match=r"guests.web.folders\[0\]: no folder driver 'directry', did"
    ):
        parse(HERE, guest_with("folders = ['directry:path=/']"))


ABACUS = """
from dataclasses import dataclass
class Abacus:
    @dataclass(frozen=True)
    class Options:
        beads: int = 5
"""


@pytest.fixture
def lent(tmp_path, monkeypatch):
    """A function that has drivers found in this process, and their module."""

    def lend(points, name, text):
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        lines = [f"{point} = {value}" for point, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[splitvisor.drivers]", *lines]))
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)

    return lend


def test_the_shortest_machine_file_is_named_after_itself():
    machine = parse(HERE, '[guests.a]\nimage = "a.elf"')
    assert (machine.name, machine.services) == ("lab", ("service",))
    assert machine.guests[0].memory == 64 << 20
    assert (machine.scheduling, machine.memory_budget) == (Scheduling(), 0)
    assert (machine.guests[0].schedule, machine.guests[0].irqchip) == (
        VcpuParameters(),
        Irqchip.CORE,
    )
    assert machine.settings_of("service") == ServiceSettings()
    assert {device.outage.action for device in machine.guests[0].devices} == {WhenOut.HOLD}


def test_tables_of_service_oses_stand_for_a_list_of_them():
    tables = "[services.storage]\nwatchdog = false\n[services.net]"
    machine = parse(HERE, f"{guest_with('')}\n{tables}")
    assert machine.services == ("storage", "net")
    assert {device.service for device in machine.guests[0].devices} == {"storage"}
    assert machine.settings_of("storage") == ServiceSettings(watchdog=False)
    assert machine.settings_of("net") == ServiceSettings()


def test_pcpus_can_be_named_one_by_one_or_be_more_than_the_host_has():
    def pcpus(text):
        return parse(HERE, f"{guest_with('')}\n[scheduler]\npcpus = {text}").scheduling.pcpus

    assert pcpus(f"[{HOST[-1]}, {HOST[0]}]") == (HOST[-1], HOST[0])
    assert pcpus("1") == (HOST[0],)
    assert pcpus(str(2 * len(HOST))) == (*HOST, *HOST)


def guest_with(text):
    return f'[guests.web]\nimage = "web.elf"\n{text}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "guests: there is no guest: add a table like [guests.web]"),
        ("x = 1", "x: no such key (known: guests, machine, scheduler, services)"),
        ("[machin]", "machin: no such key, did you mean 'machine'?"),
        ("machine = 1", "machine: must be a table"),
        ("[machine]\nname = 'A b'", "machine.name: machine name 'A b'"),
        ("[machine]\nservices = []", "machine.services: name at least one service OS"),
        ("[machine]\nservices = [1]", "machine.services: must be a string"),
        ("[machine]\nservices = ['a', 'a']", "machine.services: service OS a is there twice"),
        ("services = []", "services: must be a table"),
        ("[services]\na = true", "services.a: must be a table"),
        ("[services.A]", "services.A: service OS name 'A': use at most"),
        ("[services.a]\nstanby = true", "services.a.stanby: no such key, did you mean 'standby'?"),
        ("[services.a]\nstandby = 1", "services.a.standby: must be true or false"),
        ("[services.a]\nwatchdog = 'on'", "services.a.watchdog: must be true or false"),
        ("[services.a]\nfailpoints = 0", "services.a.failpoints: must be true or false"),
        (
            "[machine]\nservices = ['storage']\n[services.storag]",
            "services.storag: not among machine.services, did you mean 'storage'?",
        ),
        (guest_with("outage = 2"), "guests.web.outage: must be a string"),
        (
            guest_with("outage = 'eror after 2s'"),
            "guests.web.outage: 'eror after 2s' is no outage policy, did you mean 'error'?",
        ),
        (
            guest_with("entropy = {driver = 'system', outage = 'hold after 1s'}"),
            "guests.web.entropy.outage: 'hold after 1s': a guest is held for as long as it takes",
        ),
        (guest_with("outage = 'pause after 5'"), "guests.web.outage: '5' is not a duration"),
        (guest_with("outage = 'pause after 2000000s'"), "guests.web.outage: outage after 2000000s"),
        ("[guests.web]", "guests.web.image: name the guest's image file"),
        ("[guests.Web]\nimage = ''", "guests.Web: guest name 'Web'"),
        (guest_with("memry = 1"), "guests.web.memry: no such key, did you mean 'memory'?"),
        (guest_with("memory = '64X'"), "guests.web.memory: '64X' is not a size"),
        (guest_with("memory = 4097"), "guests.web.memory: memory 4097: give a multiple of 4K"),
        (guest_with("memory = true"), "guests.web.memory: must be a string"),
        (guest_with("vcpus = 0"), "guests.web.vcpus: vcpus 0: give 1 to 64"),
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
        (
            guest_with("disks = [{driver = 'file', path = 1979-05-27}]"),
            "guests.web.disks[0].path: give",
        ),
        (guest_with("entropy = {driver = 'system', inline = 1}"), "guests.web.entropy.inline: "),
        (
            guest_with("entropy = {driver = 'system', service = 'servce'}"),
            "guests.web.entropy.service: no service OS 'servce', did you mean 'service'?",
        ),
        (
            guest_with("disks = ['memory:size=1M', {driver='memory', size='1M', name='disk0'}]"),
            "guests.web: guest web: device disk0 is there twice",
        ),
        ("[machine]\nmemory_budget = 1.5", "machine.memory_budget: must be a string"),
        ("[machine]\nmemory_budget = '1Q'", "machine.memory_budget: '1Q' is not a size"),
        ("[machine]\nmemory_budget = 0", "machine.memory_budget: memory_budget 0: give 2M to 1T"),
        ("[machine]\nmemory_budget = -4096", "machine.memory_budget: memory_budget -4K: give"),
        ("scheduler = 'credit'", "scheduler: must be a table"),
        ("[scheduler]\npolcy = 'credit'", "scheduler.polcy: no such key, did you mean 'policy'?"),
        ("[scheduler]\npolicy = 1", "scheduler.policy: must be a string"),
        (
            "[scheduler]\npolicy = 'deadlin'",
            "scheduler: no scheduling policy 'deadlin', did you mean 'deadline'?",
        ),
        ("[scheduler]\nslice = 10", "scheduler.slice: must be a string"),
        ("[scheduler]\nslice = '10'", "scheduler.slice: '10' is not a duration"),
        ("[scheduler]\nslice = '499us'", "scheduler: slice 499us: give 500us to 10s"),
        ("[scheduler]\nslice = '99999999999s'", "scheduler: slice 99999999999s: give 500us"),
        ("[scheduler]\npcpus = '2'", "scheduler.pcpus: must be a whole number or a list"),
        ("[scheduler]\npcpus = true", "scheduler.pcpus: must be a whole number or a list"),
        ("[scheduler]\npcpus = ['0']", "scheduler.pcpus: must be a whole number"),
        ("[scheduler]\npcpus = 0", "scheduler.pcpus: 0: give 1 to 1024"),
        ("[scheduler]\npcpus = 1025", "scheduler.pcpus: 1025: give 1 to 1024"),
        ("[scheduler]\npcpus = []", "scheduler: pcpus []: name CPUs of the host"),
        ("[scheduler]\npcpus = [-1]", "scheduler: pcpus [-1]: name CPUs of the host, there are"),
        (guest_with("irqchip = 'kernl'"), "guests.web.irqchip: 'kernl' is not possible, did you"),
        (guest_with("irqchip = true"), "guests.web.irqchip: must be a string"),
        (
            guest_with("irqchip = 'kernel'\ncpu = 'emulated'"),
            "guests.web: the emulated CPU has no kernel's irqchip",
        ),
        (guest_with("schedule = 512"), "guests.web.schedule: must be a table"),
        (
            guest_with("schedule = { wieght = 1 }"),
            "guests.web.schedule.wieght: no such key, did you mean 'weight'?",
        ),
        (guest_with("schedule = { weight = '1' }"), "guests.web.schedule.weight: must be a whole"),
        (guest_with("schedule = { cap = true }"), "guests.web.schedule.cap: must be a whole"),
        (guest_with("schedule = { budget = 2 }"), "guests.web.schedule.budget: must be a string"),
        (guest_with("schedule = { period = '1' }"), "guests.web.schedule.period: '1' is not a dur"),
        (guest_with("schedule = { affinity = 0 }"), "guests.web.schedule.affinity: must be a list"),
        (guest_with("schedule = { affinity = ['0'] }"), "guests.web.schedule.affinity: must be a"),
    ],
)
def test_errors_name_the_key(text, problem):
    with pytest.raises(UserError) as caught:
        parse(HERE, text)
    message = str(caught.value)
    assert message.startswith(f"machine file /lab/lab.toml: {problem}")
    assert message.count("machine file") == 1


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("weight = 0", "weight 0: give 1 to 65535"),
        ("weight = 65536", "weight 65536: give 1 to 65535"),
        ("cap = -1", "cap -1: give percent"),
        ("cap = 101", "cap 101: give percent"),
        ("budget = '2ms'", "a reservation needs budget and period: give a period too"),
        ("period = '2ms'", "a reservation needs budget and period: give a budget too"),
        ("budget = '11ms', period = '10ms'", "budget 11000000 ns: give 100000 ns (100 us) to the"),
        ("budget = '99us', period = '10ms'", "budget 99000 ns: give 100000 ns (100 us) to the"),
        ("budget = '1ms', period = '11s'", "period 11000000000 ns: give 1000000 ns (1 ms) to"),
        ("affinity = [0, 2]", "affinity: there is no pCPU 2: give 0 to 1"),
        ("affinity = [-1]", "affinity: there is no pCPU -1: give 0 to 1"),
    ],
)
def test_values_that_no_vcpu_can_have_name_the_schedule(schedule, problem):
    text = f"[scheduler]\npcpus = 2\n{guest_with(f'schedule = {{ {schedule} }}')}"
    with pytest.raises(UserError) as caught:
        parse(HERE, text)
    where = "machine file /lab/lab.toml: guests.web.schedule: guest web: "
    assert str(caught.value).startswith(where + problem)


def test_what_is_not_toml_is_told_with_its_line():
    with pytest.raises(UserError, match=r"/lab/lab\.toml is not TOML: .*line 2"):
        parse(HERE, "[guests.a]\nimage = web.elf")


def test_relative_paths_start_at_the_file(tmp_path, monkeypatch):
    (tmp_path / "m.toml").write_text(guest_with("disks = ['file:path=a.img']"))
    monkeypatch.chdir(tmp_path)
    guest = read(Path("m.toml")).guests[0]
    assert guest.image == tmp_path / "web.elf"
    assert guest.devices[-1].spec == f"file:path={tmp_path}/a.img"


def test_so_do_those_of_drivers_below(tmp_path):
    below = "throttle:iops=5,child=(file:path={}a.img,readonly)"
    (tmp_path / "m.toml").write_text(guest_with(f"disks = ['{below.format('')}']"))
    device = read(tmp_path / "m.toml").guests[0].devices[-1]
    assert device.spec == below.format(f"{tmp_path}/")


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
KEYS = [
    *("image", "memory", "vcpus", "cpu", "console", "com1", "entropy", "disks", "rom", "x"),
    *("irqchip", "schedule", "balloon", "outage"),
]


def read_web(text):
    return parse(HERE, f"[guests.web]\nimage = 'web.elf'\n{text}").guests[0]


STACK = """
[[guests.web.disks]]
driver = "throttle"
iops = 500
burst = "10ms"

[guests.web.disks.child]
driver = "overlay"
path = "a.top"
base = { driver = "file", path = "a,b.img", readonly = true }

[[guests.web.disks]]
driver = "mirror"
state = "mirror.state"
children = ["memory:size=1M", { driver = "memory", size = "1M", name = "b" }]

[[guests.web.disks]]
driver = "faulty"
errors = 0.25
child = "null:size=1M"
"""


def test_a_stack_of_drivers_is_a_table_in_a_table():
    disks = [d for d in read_web(STACK).devices if d.model is Model.BLOCK]
    assert [disk.spec for disk in disks] == [
        "throttle:iops=500,burst=10ms,child=(overlay:path=/lab/a.top,"
        r"base=(file:path=/lab/a\,b.img,readonly))",
        "mirror:state=/lab/mirror.state,children=((memory:size=1M),(memory:size=1M,name=b))",
        "faulty:errors=0.25,child=(null:size=1M)",
    ]


@pytest.mark.parametrize(
    ("child", "problem"),
    [
        ("{ path = 'a.img' }", "guests.web.disks[0].child.driver: name the driver"),
        ("{ driver = 'fiel', path = 'a' }", "no block driver 'fiel', did you mean 'file'?"),
        ("{ driver = 'file', pth = 'a' }", "has no option 'pth', did you mean 'path'?"),
        ("[]", "guests.web.disks[0].child: give a driver: its spec, or a table"),
        ("['null:size=1M']", "guests.web.disks[0].child: give a driver"),
        ("5", "guests.web.disks[0].child: give a driver"),
        ("{ driver = 'file', path = 5 }", "guests.web.disks[0].child.path: give a string"),
        ("{ driver = 'file', path = ['a'] }", "guests.web.disks[0].child.path: give a string"),
        ("{ driver = 'file', path = true }", "guests.web.disks[0].child.path: give a string"),
        ("{ driver = 'file', path = 'a', readonly = 1 }", "child.readonly: give true or false"),
        ("{ driver = 'null', size = true }", "child.size: give a size such as 64M"),
        ("{ driver = 'mirror', state = 's', children = true }", "give a list of drivers"),
    ],
)
def test_what_is_wrong_in_a_stack_is_told_with_its_place(child, problem):
    text = f"[[guests.web.disks]]\ndriver = 'throttle'\niops = 5\nchild = {child}\n"
    with pytest.raises(UserError) as raised:
        read_web(text)
    assert problem in str(raised.value)


def test_a_number_that_is_true_is_told_what_it_should_be():
    text = "[[guests.web.disks]]\ndriver = 'throttle'\niops = true\nchild = 'null:size=1M'\n"
    with pytest.raises(UserError, match=r"guests\.web\.disks\[0\]\.iops: give a whole number$"):
        read_web(text)


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


SCHEDULE = st.dictionaries(
    st.sampled_from(["weight", "cap", "budget", "period", "affinity", "x"]),
    values | st.integers(-1, 300) | st.sampled_from(["1ms", "10ms", "0s"]),
)
SCHEDULER = st.dictionaries(
    st.sampled_from(["policy", "slice", "pcpus", "x"]),
    values | st.sampled_from(["credit", "5ms", 2, [HOST[0]]]),
)


@given(SCHEDULER, SCHEDULE, values)
def test_any_scheduling_is_a_machine_or_a_users_mistake(scheduler, schedule, budget):
    table = {"image": "web.elf", "schedule": schedule}
    document = {
        "machine": {"memory_budget": budget},
        "scheduler": scheduler,
        "guests": {"web": table},
    }
    try:
        machine = interpret(HERE, document)
    except UserError as error:
        problem = str(error)
    else:
        assert machine.guests[0].schedule.affinity <= set(range(len(machine.scheduling.pcpus)))
        return
    assert problem.startswith("machine file /lab/lab.toml: ")
