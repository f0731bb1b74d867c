import os
from pathlib import Path

import pytest

from policies.parameters import VcpuParameters
from splitvisor.errors import UserError
from splitvisor.machine import (
    CpuChoice,
    Device,
    Guest,
    Irqchip,
    Machine,
    Model,
    Scheduling,
    check_budget,
    check_name,
    standard_devices,
)
from splitvisor.supervisor.supervisor import core_options

HOST = sorted(os.sched_getaffinity(0))
MS = 1_000_000


def guest(name="web", **settings):
    return Guest(name, Path("web.elf"), **settings)


def test_a_guest_has_console_serial_port_entropy_and_its_disks():
    devices = standard_devices("terminal", "log:path=a.log", ["memory:size=1M", "file:path=b"])
    assert [(d.name, d.model.value, d.spec) for d in devices] == [
        ("hvc0", "console", "terminal"),
        ("com1", "uart", "log:path=a.log"),
        ("rng0", "entropy", "system"),
        ("disk0", "block", "memory:size=1M"),
        ("disk1", "block", "file:path=b"),
    ]


def test_a_uart_takes_console_drivers():
    assert Model.UART.driver_kind == Model.CONSOLE.driver_kind == "console"


@pytest.mark.parametrize("name", ["a", "0", "web-1.test_x", "x" * 32])
def test_plain_names_are_accepted(name):
    check_name("guest", name)


@pytest.mark.parametrize(
    "name", ["", "-a", ".", "../x", "a/b", "A", "a b", "a\n", "x" * 33, "\u0663"]
)
def test_names_that_are_no_file_names_are_refused(name):
    with pytest.raises(UserError, match=r"guest name .*begin with a letter or digit"):
        check_name("guest", name)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"memory": 64 << 20 | 1}, "multiple of 4K"),
        ({"memory": 1 << 20}, "memory 1M: give 2M to 1T"),
        ({"memory": 2 << 40}, "memory 2T: give 2M to 1T"),
        ({"vcpus": 0}, "vcpus 0: give 1 to 64"),
        ({"vcpus": 65}, "vcpus 65: give 1 to 64"),
        ({"name": "Web"}, "guest name 'Web'"),
        ({"irqchip": Irqchip.KERNEL, "cpu": CpuChoice.EMULATED}, "the emulated CPU has no kernel"),
    ],
)
def test_impossible_guests_are_refused(settings, problem):
    with pytest.raises(UserError, match=problem):
        guest(**settings)


def test_two_devices_of_a_guest_do_not_share_a_name():
    disk = Device("disk0", Model.BLOCK, "memory:size=1M")
    with pytest.raises(UserError, match="guest web: device disk0 is there twice: rename one"):
        guest(devices=(disk, disk))


def test_two_folders_of_a_guest_do_not_share_a_tag():
    folders = [
        Device(f"share{i}", Model.FOLDER, f"directory:path=/{i},tag={tag}")
        for i, tag in enumerate("aba")
    ]
    guest(devices=tuple(folders[:2]))
    with pytest.raises(UserError, match="guest web: folder with tag a is there twice: rename one"):
        guest(devices=tuple(folders))


def test_the_balloon_takes_its_name_only_where_there_is_one():
    devices = (Device("balloon0", Model.BLOCK, "memory:size=1M"),)
    with pytest.raises(UserError, match="guest web: device balloon0 is there twice: rename one"):
        guest(devices=devices, balloon=True)
    assert not guest(devices=devices).balloon


def test_two_guests_do_not_share_a_name():
    with pytest.raises(UserError, match="guest web is there twice"):
        Machine("lab", (guest(), guest()))


def test_a_device_is_served_by_a_service_of_its_machine():
    stray = guest(devices=(Device("disk0", Model.BLOCK, "memory:size=1M", "storage"),))
    with pytest.raises(UserError, match="disk0 is served by storage, which is not among"):
        Machine("lab", (stray,))
    assert Machine("lab", (stray,), ("service", "storage")).guests == (stray,)


def test_without_a_word_there_is_a_pcpu_for_each_cpu_of_the_host():
    usual = Machine("lab", (guest(),)).scheduling
    assert (usual.policy, usual.slice_ns, usual.pcpus) == ("credit", 10 * MS, tuple(HOST))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"policy": "credt"}, "no scheduling policy 'credt', did you mean 'credit'"),
        ({"slice_ns": MS // 2 - 1}, "slice 499999ns: give 500us to 10s"),
        ({"slice_ns": 10_000 * MS + 1}, "slice 10000000001ns: give 500us to 10s"),
        ({"pcpus": ()}, r"pcpus \[\]: name CPUs of the host, there are "),
        ({"pcpus": (HOST[0], HOST[-1] + 1)}, f", {HOST[-1] + 1}.: name CPUs of the host"),
    ],
)
def test_impossible_scheduling_is_refused(settings, problem):
    with pytest.raises(UserError, match=problem):
        Scheduling(**settings)


@pytest.mark.parametrize("slice_ns", [MS // 2, 10_000 * MS])
def test_the_limits_of_a_slice_are_possible(slice_ns):
    assert Scheduling(slice_ns=slice_ns).slice_ns == slice_ns


def test_one_cpu_of_the_host_can_be_several_pcpus():
    assert Scheduling(pcpus=(HOST[0],) * 3).pcpus == (HOST[0],) * 3


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ({"weight": 0}, "weight 0: give 1 to 65535"),
        ({"cap": 101}, "cap 101: give percent"),
        ({"budget_ns": 2 * MS}, "give a period too"),
        ({"affinity": frozenset({2})}, "there is no pCPU 2: give 0 to 1"),
    ],
)
def test_a_schedule_that_no_vcpu_of_the_machine_can_have_names_its_guest(schedule, problem):
    scheduling = Scheduling(pcpus=(HOST[0], HOST[0]))
    wrong = guest("db", schedule=VcpuParameters(**schedule))
    with pytest.raises(UserError, match=f"guest db: .*{problem}"):
        Machine("lab", (guest(), wrong), scheduling=scheduling)


@pytest.mark.parametrize("budget", [-4096, 0, (2 << 20) - 1, (1 << 40) + 1, 1 << 80])
def test_a_budget_that_holds_no_guest_or_no_number_is_refused(budget):
    with pytest.raises(UserError, match=r"memory_budget .*: give 2M to 1T"):
        check_budget(budget)


def test_what_the_core_is_started_with():
    scheduling = Scheduling("deadline", 5 * MS, (HOST[0], HOST[0]))
    machine = Machine("lab", (guest(),), scheduling=scheduling)
    pcpus = f"{HOST[0]},{HOST[0]}"
    usual = ["--policy", "deadline", "--slice", "5000000", "--pcpus", pcpus]
    assert core_options(machine) == usual
    machine = Machine("lab", (guest(),), scheduling=scheduling, memory_budget=64 << 20)
    assert core_options(machine) == [*usual, "--memory-budget", str(64 << 20)]
