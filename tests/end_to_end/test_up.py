"""`splitvisor up` and the commands that look at and change what runs."""

import json
import os
import signal
import socket
import subprocess
import threading

import pytest

from splitvisor.demo.stamps import check_image


@pytest.fixture
def lab(tmp_path, guest, disk):
    """A machine file with blockcheck and echo, consoles in files."""

    def write(cpu="auto", passes=1000, mib=4):
        image = disk(mib)
        path = tmp_path / "lab.toml"
        path.write_text(f"""
            [guests.web]
            image = "{guest("blockcheck")}"
            arguments = "depth=16 passes={passes} seed=3"
            cpu = "{cpu}"
            console = "log:path=web.log"
            com1 = false
            disks = ["file:path={image.name}"]

            [guests.echo]
            image = "{guest("echo")}"
            cpu = "{cpu}"
            console = "log:path=echo.log"
            com1 = false
        """)
        return path

    return write


def machine_of(splitvisor):
    status, output, _ = splitvisor("ps", "--json")
    assert status == 0
    (machine,) = json.loads(output)["machines"]
    return machine


def test_ps_shows_guests_devices_and_who_serves_them(splitvisor, lab, cpu):
    with splitvisor.start("up", lab(cpu)) as process:
        process.until("machine lab runs: web, echo")
        machine = machine_of(splitvisor)
        assert (machine["name"], machine["supervisor_pid"]) == ("lab", process.pid)
        assert {guest["name"] for guest in machine["guests"]} == {"web", "echo"}
        (service,) = machine["services"]
        assert (service["state"], service["epoch"]) == ("serving", 1)
        for guest in machine["guests"]:
            assert (guest["state"], guest["cpu"]) == ("running", cpu)
            assert all(device["epoch"] == 1 for device in guest["devices"])
        table = splitvisor("ps")[1]
        assert f"service (pid {service['pid']}, epoch 1)" in table
        assert str(service["pid"]) in splitvisor("service", "status")[1]
        assert splitvisor("stop") == (0, "", "")
        assert process.end()[0] == 0


def test_a_killed_service_os_is_replaced_and_the_guest_loses_nothing(
    splitvisor, lab, tmp_path, cpu
):
    # Enough work that the kills, each a command, come before its end.
    mib, passes = (4, 3) if cpu == "emulated" else (32, 4)
    file = lab(cpu, passes=passes, mib=mib)
    with splitvisor.start("up", file) as process:
        process.until("guest web: started")
        epochs = 1
        while (web := status_of(splitvisor, "web"))["state"] == "running" and epochs < 4:
            pid = machine_of(splitvisor)["services"][0]["pid"]
            status, output, errors = splitvisor("service", "kill")
            assert (status, output, errors) == (0, f"killed pid {pid} (epoch {epochs})\n", "")
            epochs += 1
            process.until(f"(epoch {epochs}) has")
            assert not os.path.exists(f"/proc/{pid}")
        if web["state"] == "running":
            process.until("guest web: ended")
        web = status_of(splitvisor, "web")
        assert (web["end_reason"], web["exit_status"]) == ("exit", 0)
        (service,) = json.loads(splitvisor("service", "status", "--json")[1])["services"]
        assert (service["epoch"], service["deaths"]) == (epochs, epochs - 1)
        assert service["last_death"] == "signal 9 (SIGKILL)"
        assert service["last_outage_ms"] > 0
        assert splitvisor("stop", "lab")[0] == 0
        assert process.end()[0] == 0
    assert epochs > 1
    assert "blockcheck: PASS" in (tmp_path / "web.log").read_text()
    verdict = check_image(tmp_path / "disk.img", 3, passes)
    assert verdict.agrees, verdict.problems


def status_of(splitvisor, name):
    return next(g for g in machine_of(splitvisor)["guests"] if g["name"] == name)


def test_one_guest_can_be_stopped_and_names_are_checked(splitvisor, lab):
    with splitvisor.start("up", lab()) as process:
        process.until("machine lab runs")
        assert splitvisor("stop", "lab/echo") == (0, "", "")
        assert status_of(splitvisor, "echo")["end_reason"] == "stopped"
        assert status_of(splitvisor, "web")["state"] == "running"
        for arguments, words in (
            (("stop", "lab/wbe"), "'web'"),
            (("stop", "lap"), "'lab'"),
            (("service", "kill", "lab/serivce"), "'service'"),
        ):
            status, output, errors = splitvisor(*arguments)
            assert (status, output, errors.count("\n")) == (2, "", 1)
            assert words in errors
        assert splitvisor("stop")[0] == 0
        process.end()


def test_a_second_up_of_the_same_machine_is_refused_and_harms_nothing(splitvisor, lab):
    file = lab()
    with splitvisor.start("up", file) as process:
        process.until("machine lab runs")
        status, _, errors = splitvisor("up", file)
        assert (status, errors.count("\n")) == (2, 1)
        assert f"machine lab runs already (pid {process.pid})" in errors
        assert status_of(splitvisor, "web")["state"] == "running"
        assert splitvisor("stop")[0] == 0
        assert process.end()[0] == 0


def test_the_death_of_the_core_ends_the_machine_and_is_named(splitvisor, lab):
    with splitvisor.start("up", lab()) as process:
        process.until("machine lab runs")
        core = machine_of(splitvisor)["core_pid"]
        os.kill(core, signal.SIGKILL)
        status, _, errors = process.end()
        assert status == 126
        line = errors.splitlines()[-1]
        assert line.startswith(f"splitvisor: the core of machine lab (pid {core}) died by signal 9")


def test_until_idle_ends_with_the_last_guest(splitvisor, tmp_path, guest, cpu):
    file = tmp_path / "two.toml"

    def write(status):
        file.write_text(
            f'guests.a = {{ image = "{guest("hello")}", cpu = "{cpu}", com1 = false }}\n'
            f'guests.b = {{ image = "{guest("hello")}", cpu = "{cpu}", com1 = false, '
            f'arguments = "exit={status}" }}\n'
        )

    write(0)
    status, output, _ = splitvisor("up", "--until-idle", file)
    assert status == 0
    assert output.count("hello: exit 0") == 2
    write(9)
    assert splitvisor("up", "--until-idle", file)[0] == 1


def test_a_reader_that_goes_ends_a_machine_with_a_console_on_the_terminal(
    splitvisor, tmp_path, guest
):
    file = tmp_path / "lab.toml"
    file.write_text(f'guests.a = {{ image = "{guest("echo")}" }}')
    with splitvisor.start("up", file) as process:
        process.until("machine lab runs")
        process.process.stdout.close()
        process.until("machine lab has ended (SIGPIPE)")
        assert process.process.wait(timeout=60) == 141


def test_a_reader_that_goes_is_nothing_to_a_machine_with_consoles_in_files(splitvisor, lab):
    with splitvisor.start("up", lab()) as process:
        process.process.stdout.close()
        process.until("machine lab runs")
        assert splitvisor("stop") == (0, "", "")
        process.until("machine lab has ended (stopped)")
        assert process.process.wait(timeout=60) == 0


def test_who_asked_to_be_heard_ends_when_nobody_hears(splitvisor, lab):
    with splitvisor.start("up", "--while-heard", lab()) as process:
        process.until("machine lab runs")
        process.process.stderr.close()
        assert process.process.wait(timeout=60) == 141
    status, _, said = splitvisor("up", "--while-heard", "--detach", lab())
    assert (status, said.count("\n")) == (2, 1)


def test_ctrl_c_leaves_nothing(splitvisor, lab, interrupted):
    with splitvisor.start("up", lab()) as process:
        process.until("machine lab runs")
        assert interrupted(process)[0] == 130


@pytest.mark.parametrize("mode", ["triple-fault", "desc-loop", "notify-storm"])
def test_a_guest_that_misbehaves_does_not_disturb_the_others(
    splitvisor, guest, tmp_path, disk, cpu, mode
):
    image = disk(2)
    file = tmp_path / "two.toml"
    file.write_text(f"""
        [guests.bad]
        image = "{guest("misbehave")}"
        arguments = "mode={mode}"
        cpu = "{cpu}"
        console = "log:path=bad.log"
        com1 = false
        disks = ["memory:size=1M"]
        [guests.good]
        image = "{guest("blockcheck")}"
        arguments = "passes=1 seed=3"
        cpu = "{cpu}"
        console = "log:path=good.log"
        com1 = false
        disks = ["file:path={image.name}"]
    """)
    status, _, errors = splitvisor("up", "--until-idle", file)
    assert "guest good: ended, exit status 0" in errors
    assert "blockcheck: PASS" in (tmp_path / "good.log").read_text()
    assert check_image(image, 3, 1).agrees
    if mode == "triple-fault":
        assert status == 1
        assert "splitvisor: guest bad ended by" in errors
    else:
        assert f"misbehave: {mode}: ok" in (tmp_path / "bad.log").read_text()
        assert status == 0


def wait_for(log, words):
    """Until a line with these words is in the log."""
    with subprocess.Popen(["tail", "-n+1", "-f", log], stdout=subprocess.PIPE, text=True) as tail:
        watchdog = threading.Timer(60, tail.kill)
        watchdog.start()
        found = any(words in line for line in tail.stdout)
        watchdog.cancel()
        tail.kill()
    assert found, log.read_text()


def test_detached_it_returns_when_all_run_and_the_machine_goes_on(
    splitvisor, guest, tmp_path, disk, cpu
):
    image = disk(1)
    file = tmp_path / "lab.toml"
    file.write_text(f"""
        [guests.web]
        image = "{guest("blockcheck")}"
        arguments = "passes=2 seed=3"
        cpu = "{cpu}"
        disks = ["file:path={image.name}"]
        [guests.echo]
        image = "{guest("echo")}"
        cpu = "{cpu}"
    """)
    assert splitvisor("up", "--detach", file) == (0, "lab\n", "")
    machine = machine_of(splitvisor)
    assert {g["name"] for g in machine["guests"]} == {"web", "echo"}
    assert all(g["state"] in ("running", "ended") for g in machine["guests"])
    assert os.getsid(machine["supervisor_pid"]) == machine["supervisor_pid"]
    folder = splitvisor.run_root / "lab"
    wait_for(folder / "supervisor.log", "guest web: ended, exit status 0")
    assert "machine lab runs: web, echo" in (folder / "supervisor.log").read_text()
    assert "blockcheck: PASS" in (folder / "web.hvc0.out").read_text()
    assert status_of(splitvisor, "echo")["state"] == "running"
    assert splitvisor("up", "-d", file)[0] == 2
    assert splitvisor("stop", "lab") == (0, "", "")
    assert check_image(image, 3, 2).agrees


@pytest.mark.parametrize("options", [(), ("--no-watchdog", "--failpoints")], ids=["usual", "all"])
def test_settings_of_service_oses_reach_a_detached_machine(splitvisor, guest, tmp_path, options):
    file = tmp_path / "lab.toml"
    file.write_text(f'[guests.echo]\nimage = "{guest("echo")}"\ncpu = "emulated"\n')
    assert splitvisor("up", "-d", *options, file)[0] == 0
    (service,) = json.loads(splitvisor("service", "status", "--json")[1])["services"]
    found = (service["watchdog"], service["failpoints"])
    assert found == (("off", True) if options else ("on", False))
    assert splitvisor("stop")[0] == 0


def test_detached_it_fails_as_in_the_foreground(splitvisor, tmp_path, guest):
    file = tmp_path / "lab.toml"
    assert splitvisor("up", "-d", file) == splitvisor("up", file)
    file.write_text(f'guests.a = {{ image = "{guest("hello")}", disks = ["file:path=none.img"] }}')
    status, output, errors = splitvisor("up", "-d", file)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert "none.img does not exist" in errors
    assert splitvisor("up", file) == (status, output, errors)


def test_a_machine_that_nobody_waits_for_ends(splitvisor, lab):
    ready, inherited = os.pipe()
    os.close(ready)
    command = splitvisor.command("up", "--ready-fd", inherited, lab())
    done = subprocess.run(
        command, pass_fds=(inherited,), stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(inherited)
    assert (done.returncode, done.stderr) == (0, b"")


HELD_DRIVER = """
import dataclasses, pathlib, socket
from drivers.block_memory import MemoryBlock

class Held(MemoryBlock):
    Options = dataclasses.make_dataclass(
        "Options", [("path", pathlib.Path)], bases=(MemoryBlock.Options,), frozen=True, kw_only=True
    )
    def __init__(self, options):
        super().__init__(options)
        with socket.socket(socket.AF_UNIX) as test:
            test.connect(str(options.path))
            test.recv(1)
"""


def test_detached_ctrl_c_while_it_starts_leaves_nothing(splitvisor, tmp_path, guest, monkeypatch):
    """A driver of the test's holds the start until the signal was sent."""
    (tmp_path / "held.py").write_text(HELD_DRIVER)
    entry = tmp_path / "held-1.dist-info" / "entry_points.txt"
    entry.parent.mkdir()
    entry.write_text("[splitvisor.drivers]\nblock.held = held:Held\n")
    (entry.parent / "METADATA").write_text("Metadata-Version: 2.1\nName: held\nVersion: 1\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    file = tmp_path / "lab.toml"
    file.write_text(
        f'guests.a = {{ image = "{guest("hello")}", disks = ["held:size=1M,path={tmp_path}/s"] }}'
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        listener.settimeout(60)
        with splitvisor.start("up", "-d", file) as process:
            with listener.accept()[0]:
                process.signal(signal.SIGINT)
            assert process.end()[:2] == (130, "")
