"""`python -m benchmarks.net`: two guests on one switch, beside a bare gRPC stream.

One guest sends datagrams and has so many of them out, the other one sends each back, so every
datagram is two frames through the switch. It takes two messages of the core to the service OS and
two back for that, which is what two echoes on a bare stream take; the rest is the design's, and the
guests'. The guest that asks polls, the one that answers is halted in between.
"""

import re
import statistics
import tempfile
from pathlib import Path

from benchmarks.echo import round_trips
from benchmarks.quick import spinner
from benchmarks.report import row
from splitvisor.checks.clock import cycles_per_second
from splitvisor.testing.testbed import Testbed, guest_image

ROUND_TRIPS = 4000
HEADERS = 28  # of IPv4 and UDP
ETHERNET = 14
LIMIT = 300.0  # seconds for a run
RESULT = re.compile(r"net: result .*\breceived=(\d+) lost=(\d+) .*\bus=(\d+)")


def ping(packet: int, depth: int, count: int) -> tuple[float, int]:
    """Round trips a second of IP packets of so many bytes, and how many were lost."""
    asks = f"mode=ping ip=10.0.0.3 peer=10.0.0.2 depth={depth} count={count} patience=200"
    asks += f" size={packet - HEADERS} hz={cycles_per_second()}"
    text = "".join(
        f'[guests.{name}]\nimage = "{guest_image("net")}"\narguments = "{words}"\n'
        f'console = "log:path={name}.log"\ncom1 = false\nentropy = false\n'
        'nets = ["switch:name=lan"]\n'
        for name, words in (("answers", "mode=echo"), ("asks", asks))
    )
    with tempfile.TemporaryDirectory(prefix="splitvisor-bench-") as folder:
        file = Path(folder) / "net.toml"
        file.write_text(text)
        with Testbed(Path(folder)) as bed:
            said = bed.up(file).guest("asks").wait(LIMIT)
    found = RESULT.search(said.output)
    if not said.passed or found is None:
        raise SystemExit(f"the guest is not content: {said}")
    received, lost, microseconds = map(int, found.groups())
    return received / microseconds * 1e6, lost


def show(packet: int, depth: int, count: int) -> None:
    """The row of a run with many out at a time."""
    rate, lost = ping(packet, depth, count)
    megabytes = 2 * rate * (packet + ETHERNET) / 1e6
    remark = f"{megabytes:.1f} MB/s through the switch; {lost} of {count} lost"
    row(f"frames of {packet} B packets, depth {depth}", f"{2 * rate:,.0f} /s", remark)


def main() -> None:
    with spinner():
        floor = statistics.median(round_trips(ROUND_TRIPS))
    row("gRPC stream echo, 64 B, beside a spinner", f"{floor * 1e6:.0f} us", f"{1 / floor:,.0f} /s")
    rate, _ = ping(64, 1, 5000)
    remark = f"{1 / rate / floor:.1f} x the echo, of which it needs two"
    row("datagram there and back, 64 B, depth 1", f"{1e6 / rate:.0f} us", remark)
    for packet in (64, 1500):
        show(packet, 64, 100_000)


if __name__ == "__main__":
    main()
