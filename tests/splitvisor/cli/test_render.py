"""Tables and JSON out of status messages."""

import io
import json

import pytest
from rich.console import Console

from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from splitvisor.cli import render


@pytest.fixture
def machine():
    def device(name, epoch, **fields):
        return core.DeviceStatus(
            name=name, model="block", service="service", epoch=epoch, attached=True, **fields
        )

    return operator.MachineStatus(
        name="lab",
        supervisor_pid=100,
        core_pid=101,
        run_dir="/run/lab",
        services=[
            operator.ServiceStatus(
                name="service",
                state=operator.SERVICE_SERVING,
                pid=102,
                epoch=2,
                deaths=1,
                last_death="signal 9 (SIGKILL)",
                last_outage_ms=231.4,
            )
        ],
        guests=[
            core.GuestStatus(
                name="web",
                state=core.GUEST_RUNNING,
                cpu=core.CPU_KVM,
                memory=64 << 20,
                resident=9 << 20,
                vcpus=[core.VcpuStatus(exits=5), core.VcpuStatus(index=1, exits=7)],
                devices=[
                    device("disk0", 2, requests=12345, bytes_from_guest=5 << 20, in_flight=3),
                    device("disk1", 1, needs_reset="a chain that has no end"),
                ],
            ),
            core.GuestStatus(
                name="done", state=core.GUEST_ENDED, end_reason=core.END_EXIT, exit_status=3
            ),
        ],
    )


def lines(table, width):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table)
    return console.file.getvalue().splitlines()


def test_guests_with_what_they_do_or_how_they_ended(machine):
    text = [line.split() for line in lines(render.guests_table(machine), 120)]
    assert ["web", "running", "kvm", "64M", "9.0", "MiB", "2", "12"] in text
    assert ["done", "ended,", "exit", "status", "3", "auto", "0", "0", "B", "0", "0"] in text


def test_a_guest_with_a_balloon_shows_what_it_keeps_and_is_to_keep(machine):
    machine.guests[0].balloon_target, machine.guests[0].balloon_actual = 16 << 20, 32 << 20
    text = "\n".join(lines(render.guests_table(machine), 120))
    assert "32.0 MiB of 64M, asked for 16.0 MiB" in text


def test_devices_with_who_serves_them(machine):
    text = lines(render.devices_table(machine, 140), 140)
    disk0 = next(line for line in text if "web/disk0" in line)
    disk1 = next(line for line in text if "web/disk1" in line)
    assert "service (pid 102, epoch 2)" in disk0
    assert "12,345" in disk0
    assert "5.0 MiB" in disk0
    assert "nobody (service is away)" in disk1  # its epoch is that of a dead incarnation
    assert "needs reset: a chain that has no end" in disk1


def test_devices_fit_a_terminal_of_80_columns_one_line_each(machine):
    text = lines(render.devices_table(machine, 80), 80)
    assert all(len(line) <= 80 for line in text)
    assert sum("web/disk" in line for line in text) == 2
    assert any("pid 102 epoch 2" in line for line in text)


def test_devices_tell_what_is_wrong_with_them(machine):
    disk0, disk1 = machine.guests[0].devices
    disk0.stalled_ms = render.STALLED_MS
    disk1.failing, disk1.attached = "no file", False
    assert render.device_remarks(machine) == {
        "web/disk0": "nothing completed for 100 ms",
        "web/disk1": "requests fail: no file; needs reset: a chain that has no end",
    }
    text = "\n".join(lines(render.devices_table(machine, 160), 160))
    assert "nobody (its requests fail)" in text
    disk0.stalled_ms -= 1
    machine.services[0].quarantined.add(device="web/disk1", reason="killed it 3 times")
    disk1.needs_reset = ""
    assert render.device_remarks(machine) == {"web/disk1": "in quarantine: killed it 3 times"}


def test_a_device_that_cannot_be_attached_is_not_served_by_one_that_is_away(machine):
    disk0, disk1 = machine.guests[0].devices
    disk0.attached = disk1.attached = False
    disk1.needs_reset = ""
    machine.services[0].unserved.add(device="web/disk1", reason="no such file")
    assert render.device_remarks(machine) == {"web/disk1": "not served: no such file"}
    text = lines(render.devices_table(machine, 160), 160)
    away, unattached = (line for line in text if line.startswith("web/disk"))
    assert "nobody (service is away)" in away
    assert "nobody (not attached)" in unattached
    disk1.failing = "nobody serves it"
    (remark,) = render.device_remarks(machine).values()
    assert remark == "not served: no such file; requests fail: nobody serves it"


def test_the_title_names_machine_and_processes(machine):
    assert render.title(machine) == "machine lab: supervisor pid 100, core pid 101, /run/lab"


def test_plain_values_hold_every_field_and_are_json(machine):
    plain = json.loads(json.dumps(render.plain(machine)))
    assert plain["services"][0]["state"] == "serving"
    assert plain["guests"][0]["state"] == "running"
    assert plain["guests"][0]["cpu"] == "kvm"
    assert plain["guests"][1]["end_reason"] == "exit"
    assert plain["guests"][0]["devices"][0]["requests"] == 12345
    assert plain["guests"][0]["rom_writes_refused"] == 0


@pytest.mark.parametrize("full", [True, False])
def test_a_device_without_a_service_os_is_served_by_the_core(full):
    balloon = core.DeviceStatus(name="balloon0", model="balloon", epoch=1, attached=True)
    assert render.served_by(balloon, None, full) == "core"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")],
)
def test_bytes_for_people(count, text):
    assert render.bytes_text(count) == text


def test_enums_lose_the_word_that_all_their_names_begin_with():
    fault = faults.Fault(action=faults.KILL, point=faults.AFTER_RECEIVE)
    plain = render.plain(fault)
    assert (plain["action"], plain["point"]) == ("kill", "after_receive")
