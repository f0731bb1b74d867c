"""Scheduling, judged by the work that guests count themselves, and memory beside it.

Time is the time-stamp counter, which guests and host share here; where the host takes time away,
it takes it from all alike, and shares stay.
"""

import sys
import time
from collections.abc import Callable

from benchmarks.lab import Lab, Spinner, gains, lab, last, quantile
from benchmarks.report import row, verdict
from protos import core_pb2

SLICE = 'slice = "10ms"'
CREDIT = f'policy = "credit"\n{SLICE}'
PHASES = 200  # beginnings that are tried; a period is 10 ms, so they are 50 us apart
MARGIN_S = 0.5  # after which everyone has started


def hertz() -> float:
    """Of the time-stamp counter, from the kernel's word for it."""
    with open("/proc/cpuinfo", encoding="ascii") as info:
        fields = dict(line.split(":", 1) for line in info if ":" in line)
    return float(fields["cpu MHz\t\t"]) * 1e6


def measure(machine: Lab, names: list[str], seconds: float) -> dict[str, int]:
    """The work of each guest over `seconds` in which all of them ran."""
    clock = hertz()
    whole = int((seconds + MARGIN_S) * clock)
    machine.wait(lambda: last({name: machine.work(name) for name in names}) >= whole)
    return gains({name: machine.work(name) for name in names}, seconds, clock)


def weights() -> None:
    said = {"one": 256, "two": 512, "four": 1024, "eight": 2048}
    guests = [Spinner(name, f"weight = {weight}") for name, weight in said.items()]
    with lab(guests, CREDIT) as machine:
        work = measure(machine, list(said), 10)
    total, whole = sum(work.values()), sum(said.values())
    errors = {n: work[n] / total / (said[n] / whole) - 1 for n in said}
    worst = max(map(abs, errors.values()))
    shares = " ".join(f"{100 * work[name] / total:.2f}" for name in said)
    row(
        "weights 1:2:4:8, one pCPU, 10 s",
        f"{worst:.2%}",
        f"off; shares {shares} %; " + verdict(worst <= 0.02, "at most 2 % off"),
    )


def cap() -> None:
    guests = [Spinner("capped", "cap = 25"), Spinner("free")]
    with lab(guests, CREDIT) as machine:
        work = measure(machine, ["capped", "free"], 10)
    share = 100 * work["capped"] / sum(work.values())
    held = abs(share - 25) <= 1
    row("cap 25 %, beside a spinner, 10 s", f"{share:.2f} %", verdict(held, "within 1 point"))


def overhead() -> None:
    """One, eight, one: what lies around the eight is what they are compared with."""

    def rate(count: int) -> float:
        names = [f"g{i}" for i in range(count)]
        with lab([Spinner(name) for name in names], CREDIT) as machine:
            return sum(measure(machine, names, 5).values()) / 5

    before, eight, after = rate(1), rate(8), rate(1)
    ratio = eight / ((before + after) / 2)
    row(
        "eight spinners, one pCPU, slices of 10 ms",
        f"{ratio:.2%}",
        "of the work of one alone; " + verdict(ratio >= 0.97, "at least 97 %"),
    )


def deadline() -> None:
    """Judged by the run intervals that the guest saw itself."""
    budget, period, count = 2_000_000, 10_000_000, 3000
    reserved = Spinner(
        "reserved",
        'budget = "2ms", period = "10ms"',
        f"trace=1 gap=2M intervals={count}",
    )
    others = [Spinner(f"g{i}", arguments="") for i in range(8)]
    with lab([reserved, *others], f'policy = "deadline"\n{SLICE}') as machine:
        machine.wait(lambda: b"spin: done" in machine.log("reserved"))
        text = machine.log("reserved").decode()
    lines = [line.split() for line in text.splitlines() if line.startswith("spin: ran")]
    runs = [(int(start), int(end)) for *_, start, end in lines]
    kept = in_time(runs, budget * hertz() / 1e9, period * hertz() / 1e9)
    shortest = min(end - begin for begin, end in runs[1:-1]) / hertz() * 1e3
    row(
        "2 ms in every 10 ms, beside eight spinners",
        f"{kept:.2%}",
        f"of {len(runs)} periods got it, shortest run {shortest:.2f} ms; "
        + verdict(kept >= 0.999, "at least 99.9 %"),
    )


def in_time(runs: list[tuple[int, int]], budget: float, period: float) -> float:
    """The part of the periods in which at least `budget` was run, all in cycles.

    A guest does not know when its periods begin. They are as long as said, so one beginning fits
    all of them; the one that fits most counts.
    """
    first, end = runs[0][0], runs[-1][0]
    periods = int((end - first) / period) - 1
    best = 0
    for phase in range(PHASES):
        begin = first + phase * period / PHASES
        got = [0.0] * periods
        for start, stop in runs:
            at = float(start)
            while at < stop:
                index = int((at - begin) // period)
                until = min(float(stop), begin + (index + 1) * period)
                if 0 <= index < periods:
                    got[index] += until - at
                at = until if until > at else stop
        best = max(best, sum(ran >= budget for ran in got))
    return best / periods


def wake_up() -> None:
    """By the core's own account: from the interrupt to the vCPU's thread entering the guest."""
    waker = Spinner(
        "waker", "weight = 2048", "ops=3000 work=20", "waker", 'disks = ["memory:size=4M"]'
    )
    others = [Spinner(f"g{i}", arguments="") for i in range(4)]
    with lab([waker, *others], CREDIT) as machine:
        machine.wait(lambda: b"waker: done" in machine.log("waker"))
        status = next(guest for guest in machine.status().guests if guest.name == "waker")
        account = status.vcpus[0]
        seen = machine.log("waker").decode().split("done", 1)[1].split()
    p99, below = 0, 0
    for exponent, count in enumerate(account.wake_latency):
        below += count
        if below >= 0.99 * account.wakes:
            p99 = 1 << exponent
            break
    told = dict(word.split("=") for word in seen)
    row(
        "wake-up to running beside 4 spinners, p99",
        f"<= {p99} us",
        f"of {account.wakes:,} wake-ups (with its disk read: "
        f"{int(told['p99']) / hertz() * 1e6:,.0f} us); " + verdict(p99 <= 2048, "at most 2 ms"),
    )


def crowd() -> None:
    """The core's calls one by one, and what `ps` asks for: three processes, all in one answer."""
    names = [f"g{i}" for i in range(64)]
    guests = [Spinner(name, arguments="every=200K") for name in names]
    calls: list[float] = []
    answers: list[float] = []
    with lab(guests, CREDIT, "[0, 1]") as machine, machine.core() as core:
        before = {name: len(machine.work(name)) for name in names}
        until = time.monotonic() + 10
        while time.monotonic() < until:
            name = names[len(calls) % len(names)]
            schedule = core_pb2.ScheduleRequest(guest=name, schedule=core_pb2.Schedule(weight=256))
            for call in (
                lambda: core.ListGuests(core_pb2.ListRequest()),
                lambda schedule=schedule: core.SetSchedule(schedule),
                lambda: core.DescribeScheduler(core_pb2.SchedulerRequest()),
            ):
                calls.append(timed(call))
            answers.append(timed(machine.status))
            time.sleep(0.02)
        stuck = [name for name in names if len(machine.work(name)) <= before[name]]
    row(
        "64 guests on two pCPUs, 10 s",
        f"{len(names) - len(stuck)} go on",
        verdict(not stuck, "all"),
    )
    for what, times in (("the core's calls", calls), ("all that ps shows", answers)):
        slowest, p99 = max(times) * 1e3, quantile(times, 99) * 1e3
        row(
            f"  meanwhile, {what}",
            f"{slowest:.0f} ms",
            f"slowest of {len(times)}, p99 {p99:.0f} ms; "
            + verdict(slowest <= 50, "at most 50 ms"),
        )


def timed(call: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


PARTS: dict[str, Callable[[], None]] = {
    "weights": weights,
    "cap": cap,
    "overhead": overhead,
    "deadline": deadline,
    "wake-up": wake_up,
    "crowd": crowd,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
