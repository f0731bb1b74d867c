"""The words of `splitvisor fault` for what protos/faults.proto numbers, and faults as sentences."""

from dataclasses import dataclass

from protos import faults_pb2 as f
from splitvisor.cli.render import bytes_text
from splitvisor.units import format_duration


def _word(name: str) -> str:
    return name.lower().replace("_", "-")


POINTS = {_word(name): number for name, number in f.Point.items() if number != f.ANYWHERE}
GARBLES = {_word(name): number for name, number in f.Garble.items()}
POINT_HELP = {
    f.OPENING: "a device is to be opened, its driver is not yet",
    f.OPENED: "the driver is opened, the core has not heard of it",
    f.PROMOTION: "the standby is told to serve, and has done nothing about it",
    f.ATTACHED: "it serves the device, the core has not heard of it",
    f.AFTER_RECEIVE: "a batch of requests has come, none is executed",
    f.BEFORE_EXECUTE: "before each request",
    f.AFTER_EXECUTE: "the driver has done a request, its completion is not made",
    f.MID_BATCH: "half of a batch is executed; only batches of two and more",
    f.BEFORE_REPLY: "a batch is executed, no completion has left",
    f.AFTER_REPLY: "the completions of a batch have left",
    f.REPLAY_RECEIVED: "as after-receive, of what is replayed after a death",
    f.REPLAY_EXECUTED: "as after-execute, of what is replayed after a death",
    f.CLOSING: "the device's stream has ended, its driver is not closed yet",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault as a command: where it acts unless told, how often (0: for ever)."""

    number: "f.Action.ValueType"
    point: "f.Point.ValueType"
    about: str
    examples: tuple[str, ...]
    times: int = 1

    @property
    def is_signal(self) -> bool:
        """Whether it needs no failpoints as long as it needs no point."""
        return self.number in (f.KILL, f.STOP)


KINDS = {
    "kill": Kind(
        f.KILL,
        f.ANYWHERE,
        "SIGKILL: the process is gone at once.",
        (
            "splitvisor fault kill",
            "splitvisor fault kill lab/storage --at mid-batch --nth 100",
            "splitvisor fault kill --device web/disk0 --sector 80 --every-incarnation",
            "splitvisor fault kill --standby --at promotion",
        ),
    ),
    "stop": Kind(
        f.STOP,
        f.ANYWHERE,
        "SIGSTOP: the process is there and does nothing more.",
        ("splitvisor fault stop", "splitvisor fault stop --device web/disk0 --at after-execute"),
    ),
    "hang": Kind(
        f.HANG,
        f.BEFORE_EXECUTE,
        "The device's thread waits for ever, as in a deadlock; other devices go on.",
        ("splitvisor fault hang --device web/disk0", "splitvisor fault hang lab --at before-reply"),
    ),
    "spin": Kind(
        f.SPIN,
        f.ANYWHERE,
        "A thread computes for ever and leaves hardly any of Python's lock to the others.",
        ("splitvisor fault spin", "splitvisor fault spin --device web/disk0 --nth 1000"),
    ),
    "slow": Kind(
        f.SLOW,
        f.BEFORE_EXECUTE,
        "Each step at the point takes longer, until 'fault clear' or --times.",
        (
            "splitvisor fault slow --device web/disk0 --by 20ms",
            "splitvisor fault slow --at after-receive --by 1s --times 1",
        ),
        times=0,
    ),
    "garble": Kind(
        f.GARBLE,
        f.BEFORE_REPLY,
        "An answer is wrong, and the core takes none that is. Of 'twice', which 'some' may come to "
        "as well, it drops the second one, and nothing more need come of it.",
        (
            "splitvisor fault garble --how twice",
            "splitvisor fault garble --device web/disk0 --seed 7 --times 3",
        ),
    ),
    "drop": Kind(
        f.DROP,
        f.BEFORE_REPLY,
        "An answer is not sent.",
        ("splitvisor fault drop --device web/disk0", "splitvisor fault drop --nth 50"),
    ),
    "leak": Kind(
        f.LEAK,
        f.ANYWHERE,
        "Memory is taken, filled and never given back.",
        (
            "splitvisor fault leak --bytes 256M",
            "splitvisor fault leak --bytes 64K --at before-execute --times 0",
        ),
    ),
    "exit": Kind(
        f.EXIT,
        f.ANYWHERE,
        "The process exits with status 1.",
        ("splitvisor fault exit", "splitvisor fault exit --at closing"),
    ),
    "raise": Kind(
        f.RAISE,
        f.BEFORE_EXECUTE,
        "The device's thread raises an exception that nobody expects.",
        ("splitvisor fault raise --device web/disk0", "splitvisor fault raise --at opening"),
    ),
}


def fault_text(fault: f.Fault) -> str:
    """What it does, where, to whom, and how often."""
    words = [_word(f.Action.Name(fault.action)) + _amount(fault)]
    words.append(f"at {_word(f.Point.Name(fault.point))}" if fault.point else "at once")
    if fault.guest or fault.device:
        words.append(f"of {fault.guest or '*'}/{fault.device or '*'}")
    if fault.only_sector:
        words.append(f"where sector {fault.sector} is touched")
    clauses = [" ".join(words)]
    if fault.nth > 1:
        clauses.append(f"from time {fault.nth} on")
    often = {0: "for ever", 1: "once"}.get(fault.times, f"{fault.times} times")
    clauses.append(often if fault.point else "")
    clauses.append("in every incarnation" if fault.every_incarnation else "")
    return ", ".join(filter(None, clauses))


def _amount(fault: f.Fault) -> str:
    if fault.action == f.SLOW:
        return f" by {format_duration(fault.delay_us * 1000)}"
    if fault.action == f.LEAK:
        return f" {bytes_text(fault.bytes)}"
    if fault.action == f.GARBLE:
        how = _word(f.Garble.Name(fault.garble))
        return f" ({how}, seed {fault.seed})" if fault.garble == f.SOME else f" ({how})"
    return ""
