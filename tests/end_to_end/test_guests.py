"""The guests that measure and watch: what they say is what happens."""

import re
from itertools import pairwise

import pytest

from tests.end_to_end.isolation import Machine, memory_crc, memory_of


def run(splitvisor, guest, cpu, name, *words, arguments=""):
    status, output, errors = splitvisor(
        "run", guest(name), "--cpu", cpu, *words, "--", *arguments.split()
    )
    assert (status, errors) == (0, ""), output
    return output


def figures(output, words):
    """All lines of this kind, as numbers."""
    return [list(map(int, found)) for found in re.findall(words, output)]


def test_spin_tells_its_work_and_the_time_of_it(splitvisor, guest, cpu):
    output = run(splitvisor, guest, cpu, "spin", arguments="work=4000 every=1000")
    (start,) = figures(output, r"spin: start cycles=(\d+) cpus=(\d+)\n")
    told = figures(output, r"spin: work=(\d+) cycles=(\d+)\n")
    (done,) = figures(output, r"spin: done work=(\d+) cycles=(\d+)\n")
    assert start[1] == 1
    assert [work for work, _ in told] == [1000, 2000, 3000, 4000]
    times = [start[0], *(cycles for _, cycles in told), done[1]]
    assert times == sorted(times)
    assert done[0] == 4000


def test_spin_works_on_all_processors(splitvisor, guest, cpu):
    output = run(splitvisor, guest, cpu, "spin", "--vcpus", "2", arguments="cycles=1G")
    assert "cpus=2" in output
    (done,) = figures(output, r"spin: done work=(\d+) cycles=(\d+)\n")
    alone = run(splitvisor, guest, cpu, "spin", arguments=f"work={done[0]}")
    assert f"spin: done work={done[0]} " in alone


def test_spins_run_intervals_do_not_overlap(splitvisor, guest, cpu):
    output = run(splitvisor, guest, cpu, "spin", arguments="trace=1 intervals=5 gap=20K")
    ran = figures(output, r"spin: ran (\d+) (\d+)\n")
    assert len(ran) == 5
    for (start, end), (following, _) in pairwise(ran):
        assert start <= end < following - 20_000


def test_waker_times_every_read(splitvisor, guest, cpu):
    output = run(
        splitvisor, guest, cpu, "waker", "--disk", "memory:size=64K", arguments="ops=50 work=10"
    )
    ((ops, total, p50, p99, longest),) = figures(
        output, r"waker: done ops=(\d+) cycles=(\d+) p50=(\d+) p99=(\d+) max=(\d+)\n"
    )
    assert ops == 50
    assert 0 < p50 <= p99 <= longest < total
    assert p50 * ops / 2 < total


def test_the_sentinel_sees_a_changed_bit(splitvisor, guest, cpu, tmp_path):
    """Which a test may change as root, through the core's descriptor of the guest's memory."""
    file = tmp_path / "machine.toml"
    file.write_text(
        f'guests.sentinel = {{ image = "{guest("sentinel")}", memory = "8M", cpu = "{cpu}", '
        'com1 = false, disks = ["memory:size=64K"] }'
    )
    machine = Machine(splitvisor, file)
    with machine.process:
        try:
            ready = machine.says("ready")
            base, size, crc = re.search(r"base=0x(\w+) size=(\d+) hash=(\w+)", ready).groups()
            machine.order("h")
            machine.says("halted")
            core = machine.ps()["core_pid"]
            seen = memory_crc(core, "sentinel", int(base, 16), int(size))
            if isinstance(seen, str):
                pytest.skip(seen)
            assert seen == int(crc, 16)
            flip_bit(core, int(base, 16) + int(size) // 2)
            machine.order("c")
            assert f"FAIL memory at 0x{int(base, 16) + int(size) // 2:x}" in machine.says("FAIL")
        finally:
            machine.process.terminate()
            machine.process.communicate()


def flip_bit(core, address):
    """In the memory of the machine's one guest."""
    with memory_of(core, "sentinel").open("r+b", buffering=0) as memory:
        memory.seek(address)
        byte = memory.read(1)[0]
        memory.seek(address)
        memory.write(bytes([byte ^ 1]))
