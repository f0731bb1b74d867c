import io

from rich.console import Console

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.demo.stage import Stage, percent, plain_line

MACHINE = operator.MachineStatus(
    name="demo",
    services=[operator.ServiceStatus(name="service", pid=9, epoch=2)],
    guests=[
        core.GuestStatus(
            name="blockcheck",
            devices=[
                core.DeviceStatus(
                    name="disk0",
                    service="service",
                    epoch=2,
                    attached=True,
                    requests=1500,
                    bytes_from_guest=3 << 20,
                    bytes_to_guest=1 << 20,
                ),
                core.DeviceStatus(name="rng0", service="service", epoch=2, attached=True),
            ],
        )
    ],
)


def test_one_line_says_who_serves_and_what_went_through():
    assert plain_line(MACHINE, 500, 1000) == (
        "blockcheck 50% | blockcheck/disk0 1,500 requests 4.0 MiB | "
        "served by service (pid 9, epoch 2)"
    )


def test_percentages_stay_between_nothing_and_all():
    assert [percent(*pair) for pair in ((0, 0), (0, 9), (9, 9), (12, 9))] == [
        *("0%", "0%", "100%", "100%")
    ]


def show(console):
    with Stage(console) as stage:
        stage.say("killed")
        stage.show(MACHINE, 500, 1000)
    return console.file.getvalue()


def test_without_a_terminal_there_are_only_plain_lines():
    text = show(Console(file=io.StringIO(), width=200))
    assert "\x1b" not in text
    first, second = text.splitlines()
    assert first.endswith("s] killed")
    assert "blockcheck 50%" in second


def test_on_a_terminal_there_is_a_table_and_a_bar():
    text = show(Console(file=io.StringIO(), width=80, force_terminal=True))
    for words in ("killed", "served by", "pid 9 epoch 2", "50%", "of 1,000 requests"):
        assert words in text
