"""Words become faults."""

import pytest

from protos import core_pb2 as core
from protos import faults_pb2 as f
from splitvisor.cli.fault_parsing import check_disk, parse_fault
from splitvisor.errors import UserError


def test_words_and_amounts():
    made = parse_fault("slow", at="mid-batch", device="web/disk0", by="20ms", nth=3, times=0)
    assert made == f.Fault(
        action=f.SLOW,
        point=f.MID_BATCH,
        guest="web",
        device="disk0",
        nth=3,
        delay_us=20_000,
    )
    assert parse_fault("leak", size="2M").bytes == 2 << 20
    assert parse_fault("garble", how="twice").garble == f.TWICE
    assert parse_fault("kill", sector=0, every_incarnation=True) == f.Fault(
        point=f.BEFORE_EXECUTE, times=1, only_sector=True, every_incarnation=True
    )


def test_amounts_and_times_are_what_is_usual_for_the_kind():
    assert (parse_fault("slow").delay_us, parse_fault("slow").times) == (20_000, 0)
    assert (parse_fault("leak").bytes, parse_fault("leak").times) == (64 << 20, 1)
    assert (parse_fault("kill", by="1s", size="1M").delay_us, parse_fault("kill").bytes) == (0, 0)
    assert parse_fault("slow", by="1m").delay_us == 60_000_000


def test_without_a_point_it_acts_where_the_command_would():
    assert parse_fault("kill").point == f.ANYWHERE
    assert parse_fault("kill", device="disk0").point == f.BEFORE_EXECUTE
    assert parse_fault("hang").point == f.BEFORE_EXECUTE
    assert parse_fault("drop").point == f.BEFORE_REPLY


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"action": "kil"}, "no fault 'kil', did you mean 'kill'?"),
        ({"action": "kill", "at": "mid_batch"}, "no point 'mid_batch', did you mean 'mid-batch'?"),
        ({"action": "garble", "how": "twise"}, "no way to garble 'twise'"),
        ({"action": "slow", "by": "20"}, "'20' is not a duration"),
        ({"action": "slow", "by": "61m"}, "--by 61m: give 1us to 3600s"),
        ({"action": "leak", "size": "0"}, "--bytes 0: give 1 to 1T"),
        ({"action": "kill", "device": "web/"}, "--device 'web/': write GUEST/DEVICE"),
        ({"action": "kill", "device": "/disk0"}, "--device '/disk0': write GUEST/DEVICE"),
        ({"action": "kill", "every_incarnation": True}, "a signal is sent once: name a point"),
        ({"action": "kill", "times": 0}, "a signal is sent once: name a point for --times 0"),
        ({"action": "stop", "times": 2}, "a signal is sent once: name a point for --times 2"),
        ({"action": "kill", "nth": -1}, "--nth -1: give 0 to 1000000000000000"),
        ({"action": "slow", "times": -2}, "--times -2: give 0 to"),
        ({"action": "kill", "sector": -3}, "--sector -3: give 0 to"),
        ({"action": "garble", "seed": 1 << 64}, "--seed 18446744073709551616: give 0 to"),
    ],
)
def test_a_mistake_is_one_line(words, problem):
    with pytest.raises(UserError, match=problem.replace("?", r"\?")):
        parse_fault(**words)


@pytest.mark.parametrize("device", ["web/disk0", "other/disk0", "disk0", "hvc0", ""])
def test_a_sector_of_a_disk_is_well(device):
    check_disk(parse_fault("kill", device=device, sector=8), guests(hvc0="block"))


def test_a_sector_of_anything_else_is_a_mistake():
    fault = parse_fault("kill", device="web/hvc0", sector=8)
    with pytest.raises(UserError) as refused:
        check_disk(fault, guests(hvc0="console"))
    why = "hvc0 is no disk (model console): name a disk with --device"
    assert str(refused.value) == f"--sector 8: {why}"


def guests(**models):
    """One with a disk and other devices."""
    devices = [
        core.DeviceStatus(name=name, model=model)
        for name, model in {"disk0": "block", **models}.items()
    ]
    return [core.GuestStatus(name="web", devices=devices)]
