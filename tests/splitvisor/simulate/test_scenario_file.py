from pathlib import Path

import pytest

from policies.parameters import VcpuParameters
from splitvisor.errors import UserError
from splitvisor.simulate.scenario import PolicyChange, Vcpu, VcpuChange
from splitvisor.simulate.scenario_file import read

MS = 1_000_000
FULL = """
policy = "credit"
pcpus = 2
slice = "5ms"
duration = "2s"
kick_cost = "200us"
switch_cost = "5us"

[vcpus.web]
weight = 512
cap = 50
affinity = [1]
run = "1ms"
sleep = "9ms"
start = "1ms"
stop = "1s"
count = 2

[vcpus.control]
budget = "2ms"
period = "10ms"
run = "2ms"
every = "10ms"

[[changes]]
at = "750ms"
vcpu = "web2"
cap = 0

[[changes]]
at = "500ms"
vcpu = "web"
weight = 100

[[changes]]
at = "800ms"
policy = "deadline"
"""


def write(folder, text):
    path = folder / "x.toml"
    path.write_text(text)
    return path


def test_a_full_scenario(tmp_path):
    scenario = read(write(tmp_path, FULL))
    web = VcpuParameters(512, 50, affinity=frozenset({1}))
    times = {"run": MS, "sleep": 9 * MS, "start": MS, "stop": 1000 * MS}
    control = VcpuParameters(budget_ns=2 * MS, period_ns=10 * MS)
    assert scenario.vcpus == (
        Vcpu("web1", web, **times),
        Vcpu("web2", web, **times),
        Vcpu("control", control, run=2 * MS, every=10 * MS),
    )
    assert (scenario.pcpus, scenario.slice_ns, scenario.duration) == (2, 5 * MS, 2000 * MS)
    assert (scenario.kick_cost, scenario.switch_cost) == (200_000, 5000)
    first, second, third = scenario.changes  # in the order of time
    lighter = VcpuParameters(100, 50, affinity=frozenset({1}))
    assert isinstance(first, VcpuChange)
    assert first.parameters == {"web1": lighter, "web2": lighter}
    assert isinstance(second, VcpuChange)
    assert second.parameters == {"web2": VcpuParameters(100, 0, affinity=frozenset({1}))}
    assert isinstance(third, PolicyChange)
    assert (third.policy, third.slice_ns) == ("deadline", 5 * MS)


def test_another_policy_can_be_asked_for(tmp_path):
    assert read(write(tmp_path, FULL), "round_robin").policy == "round_robin"
    with pytest.raises(UserError, match="no scheduling policy 'fair'"):
        read(write(tmp_path, FULL), "fair")


HEAD = 'policy = "credit"\nduration = "1s"\n'
A = HEAD + "[vcpus.a]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policy =", ("not TOML",)),
        ('duration = "1s"', ("policy: is missing", "'credit' or 'deadline'")),
        ('policy = "credit"', ("duration: is missing", "'1s'")),
        (A.replace("credit", "credt"), ("policy: no scheduling policy 'credt'", "mean 'credit'?")),
        (HEAD, ("vcpus: there is no vCPU", "[vcpus.spinner]")),
        (HEAD + "vcpu = 3", ("vcpu: no such key", "mean 'vcpus'?")),
        (HEAD + "pcpus = 0\n[vcpus.a]", ("pcpus: 0 is not possible", "1 to 64")),
        (HEAD + "slice = 10\n[vcpus.a]", ("slice: must be a string",)),
        (HEAD + 'slice = "0s"\n[vcpus.a]', ("slice 0s: give 500us to 10s",)),
        (HEAD + 'slice = "10"\n[vcpus.a]', ("slice: '10' is not a duration", "10ms")),
        (HEAD + "vcpus = 3", ("vcpus: must be a table",)),
        (A + "wieght = 3", ("vcpus.a.wieght: no such key", "mean 'weight'?")),
        (A + "weight = 0", ("vcpus.a: weight 0", "1 to 65535")),
        (A + "affinity = [1]", ("vcpus.a: affinity", "no pCPU 1")),
        (A + 'budget = "1ms"', ("vcpus.a: a reservation needs", "period")),
        (A + 'run = "1ms"', ("vcpus.a.run", "either sleep or every")),
        (A + 'run = "1ms"\nsleep = "1ms"\nevery = "1ms"', ("vcpus.a.run", "either")),
        (A + 'sleep = "1ms"', ("vcpus.a.run: is missing",)),
        (A + 'stop = "0s"', ("vcpus.a.stop", "after its start")),
        (A + "count = 0", ("vcpus.a.count: 0", "1 to 1000")),
        (A + "count = 2\n[vcpus.a1]", ("two vCPUs are called a1", "rename one")),
        (A + "count = 999\n[vcpus.b]\ncount = 2", ("vcpus: these are 1001", "1000 at most")),
        (A + '[[changes]]\nvcpu = "a"', ("changes[0].at: is missing",)),
        (A + '[[changes]]\nat = "1ms"', ("changes[0]: say what changes",)),
        (A + '[[changes]]\nat = "1ms"\nvcpu = "b"', ("changes[0].vcpu: no vCPU 'b'", "known: a")),
        (A + '[[changes]]\nat = "1ms"\nvcpu = "a"\ncap = 101', ("changes[0]: cap 101",)),
        (A + '[[changes]]\nat = "1ms"\npolicy = "x"', ("changes[0].policy: no scheduling",)),
    ],
)
def test_a_mistake_names_the_file_the_key_and_the_cure(text, words, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as refusal:
        read(path)
    assert str(refusal.value).startswith(f"scenario {path}")
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "none.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"\xe4")
    with pytest.raises(UserError, match="UTF-8"):
        read(path)


@pytest.mark.parametrize("path", sorted(Path("docs/scheduling").glob("*.toml")), ids=str)
def test_the_scenarios_that_come_along_can_be_read(path):
    assert read(path).vcpus
