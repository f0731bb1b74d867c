"""What `balloon` asks of a machine, what it prints, and what it refuses."""

import grpc
import pytest

from protos import core_pb2 as core


@pytest.mark.parametrize("target", ["/web", "lab/web"])
def test_the_answer_tells_what_is_kept_and_asked_for(splitvisor, lab, target):
    lab.guest.balloon_actual, lab.guest.balloon_target = 64 << 20, 32 << 20
    said = "web: keeps 64M, asked to keep 32M\n"
    assert splitvisor("balloon", target, "32M") == (0, said, "")
    assert lab.asked == [core.BalloonRequest(guest="web", target=32 << 20)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument"),
        (("/web",), "Missing argument 'SIZE'"),
        (("web", "32M"), "'web' names no guest: write MACHINE/GUEST, or /GUEST"),
        (("lab/", "32M"), "'lab/' has no name behind the slash"),
        (("/web", "32Q"), "'32Q' is not a size: write it like 64M"),
        (("/web", "-32M"), "No such option '-3'"),
        (("/web", "9999T"), "9999T: a guest has at most 1T"),
        (("/web", "32M"), "no machine runs under"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_before_anything_is_asked(splitvisor, arguments, words):
    status, output, errors = splitvisor("balloon", *arguments)
    assert (status, output) == (2, "")
    (line,) = errors.splitlines()
    assert words in line


def test_what_the_machine_refuses_is_its_line_and_status_2(splitvisor, lab):
    lab.refusal = (grpc.StatusCode.NOT_FOUND, "guest web has no balloon")
    refused = (2, "", "splitvisor: guest web has no balloon\n")
    assert splitvisor("balloon", "/web", "32M") == refused
