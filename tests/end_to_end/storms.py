"""What tests of storms share: the judges on the host."""

from splitvisor.checks.console import check_console, check_uart
from splitvisor.checks.image import check_image


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
