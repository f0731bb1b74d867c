"""Memory taken from a running guest and given back, as the host and as the guest see it."""

import json
import subprocess
import threading

import pytest

from tests.end_to_end.conftest import PATIENCE

MIB = 1 << 20
SLACK = 16 * 4096  # bytes of its program that a guest first touches when it works the balloon


@pytest.fixture
def lab(tmp_path, guest):
    """A machine file with one guest of 16 MiB, its console in a file."""

    def write(cpu, image="balloon", balloon=True):
        path = tmp_path / "lab.toml"
        path.write_text(f"""
            [guests.web]
            image = "{guest(image)}"
            arguments = "rounds=4"
            memory = "16M"
            cpu = "{cpu}"
            balloon = {str(balloon).lower()}
            console = "log:path=web.log"
            com1 = false
        """)
        return path

    return write


def web_of(splitvisor):
    _, output, _ = splitvisor("ps", "--json")
    (machine,) = json.loads(output)["machines"]
    (guest,) = machine["guests"]
    return guest


def wait_for(log, line):
    """Until the guest has printed this line."""
    with subprocess.Popen(["tail", "-n+1", "-f", log], stdout=subprocess.PIPE, text=True) as tail:
        watchdog = threading.Timer(PATIENCE, tail.kill)
        watchdog.start()
        found = any(line == said.rstrip("\n") for said in tail.stdout)
        watchdog.cancel()
        tail.kill()
    assert found, log.read_text()


def test_a_guest_gives_memory_back_and_gets_it_again(splitvisor, lab, tmp_path, cpu):
    log = tmp_path / "web.log"
    with splitvisor.start("up", "--until-idle", lab(cpu)) as process:
        process.until("machine lab runs")
        wait_for(log, "balloon: ready, 14 MiB stamped")
        web = web_of(splitvisor)
        assert (web["balloon_target"], web["balloon_actual"]) == (16 * MIB, 16 * MIB)
        whole = web["resident"]
        assert 14 * MIB < whole <= 16 * MIB  # nothing was ever put in the first MiB
        for mib in (8, 16, 5):
            status, output, errors = splitvisor("balloon", "lab/web", f"{mib}M")
            assert (status, errors) == (0, "")
            assert f"asked to keep {mib}M" in output
            wait_for(log, f"balloon: keeps {mib} of 16 MiB")  # it has checked all of its memory
            web = web_of(splitvisor)
            assert (web["balloon_target"], web["balloon_actual"]) == (mib * MIB, mib * MIB)
            assert 0 <= web["resident"] - (whole - (16 - mib) * MIB) <= SLACK
        table = splitvisor("ps")[1]
        assert "5.0 MiB of 16M" in table
        assert "web/balloon0 balloon core " in table
        splitvisor("balloon", "lab/web", "12M")
        status, _, errors = process.end()
        assert status == 0
        assert "guest web, device balloon0: target 5M reached" in errors
        assert "guest web: ended, exit status 0" in errors
    assert "FAIL" not in log.read_text()


def test_a_guest_that_cannot_spare_so_much_keeps_what_it_needs(splitvisor, lab, tmp_path, cpu):
    with splitvisor.start("up", lab(cpu)) as process:
        process.until("machine lab runs")
        assert splitvisor("balloon", "lab/web", "1M")[0] == 0
        wait_for(tmp_path / "web.log", "balloon: keeps 2 of 16 MiB, and needs them")
        web = web_of(splitvisor)
        assert (web["state"], web["balloon_target"]) == ("running", MIB)
        assert MIB < web["balloon_actual"] < 2 * MIB
        assert splitvisor("stop") == (0, "", "")


def test_a_guest_without_a_driver_for_its_balloon_keeps_all(splitvisor, lab, cpu):
    with splitvisor.start("up", lab(cpu, image="echo")) as process:
        process.until("machine lab runs")
        output = splitvisor("balloon", "lab/web", "8M")[1]
        assert output == "web: keeps 16M, asked to keep 8M\n"
        assert "16.0 MiB of 16M, asked for 8.0 MiB" in splitvisor("ps")[1]
        assert splitvisor("stop") == (0, "", "")


def test_what_cannot_be_asked_is_refused_in_one_line(splitvisor, lab):
    with splitvisor.start("up", lab("emulated", image="echo")) as process:
        process.until("machine lab runs")
        for size in ("17M", "4K", "8193K"):
            status, output, errors = splitvisor("balloon", "lab/web", size)
            assert (status, output, errors.count("\n")) == (2, "", 1)
            assert "give a multiple of 4096 from 1048576 to 16777216" in errors
        assert web_of(splitvisor)["balloon_target"] == 16 * MIB
        assert splitvisor("stop") == (0, "", "")


def test_a_guest_without_a_balloon_says_so(splitvisor, lab):
    with splitvisor.start("up", lab("emulated", image="echo", balloon=False)) as process:
        process.until("machine lab runs")
        status, output, errors = splitvisor("balloon", "lab/web", "8M")
        assert (status, output, errors.count("\n")) == (2, "", 1)
        assert "no balloon" in errors
        assert web_of(splitvisor)["balloon_target"] == 0
        assert splitvisor("stop") == (0, "", "")
