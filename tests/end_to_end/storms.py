"""What tests of storms share: a machine with one, its judges, and the death of its service OS."""

import json
import subprocess
import threading

from splitvisor.checks.console import check_console, check_uart
from splitvisor.checks.image import check_image
from tests.end_to_end.conftest import PATIENCE


def agree(log, said, image, uart=None):
    """All judges of a storm that has come to its end."""
    assert log.passed, log.verdict
    submitted = log.result["submitted"]
    console = check_console(said, log.workload)
    assert console.agrees, console.problems
    disk = check_image(image, log.workload, submitted, submitted, log.failed)
    assert disk.agrees, disk.problems
    if uart is not None:
        com1 = check_uart(uart.read_bytes(), log.workload, log.result["uart_lines"])
        assert com1.agrees, com1.problems


def machine_file(tmp_path, guest, cpu, disk, arguments):
    path = tmp_path / "lab.toml"
    path.write_text(f"""
        [guests.storm]
        image = "{guest("storm")}"
        arguments = "{arguments}"
        cpu = "{cpu}"
        console = "log:path=storm.log"
        com1 = "log:path=uart.log"
        disks = ["{disk}"]
    """)
    return path


def wait_for(log, words):
    """Until a line with these words is in the log."""
    with subprocess.Popen(["tail", "-n+1", "-F", log], stdout=subprocess.PIPE, text=True) as tail:
        watchdog = threading.Timer(PATIENCE, tail.kill)
        watchdog.start()
        found = any(words in line for line in tail.stdout)
        watchdog.cancel()
        tail.kill()
    assert found, log.read_text()


def kill_until_the_end(splitvisor, process):
    """Kill the service OS again and again; how often it was."""
    deaths = 0
    while True:
        guests = json.loads(splitvisor("ps", "--json")[1])["machines"][0]["guests"]
        if guests[0]["state"] != "running":
            return deaths
        assert splitvisor("service", "kill")[0] == 0
        deaths += 1
        process.until(f"(epoch {deaths + 1}) has")
