"""What `splitvisor driver swap` asks of a machine, and what it prints."""

import json
import os

import grpc

from protos import operator_pb2 as operator

SPEC = "file:path=b.img"


def asked(content=operator.CONTENT_SAME):
    root = os.getcwd()
    return operator.SwapDriverRequest(device="web/disk0", spec=SPEC, content=content, root=root)


def test_a_swap_tells_what_was_and_is_and_the_pause(splitvisor, lab):
    said = f"web/disk0: file:path=a.img → {SPEC} in 3.1 ms\n"
    assert splitvisor("driver", "swap", "web/disk0", SPEC) == (0, said, "")
    assert splitvisor("driver", "swap", "lab/web/disk0", SPEC) == (0, said, "")
    assert lab.asked == [asked(), asked()]


def test_json_has_every_field(splitvisor, lab):
    status, output, errors = splitvisor("driver", "swap", "web/disk0", SPEC, "--json")
    assert (status, errors) == (0, "")
    swap = {"old": "file:path=a.img", "new": SPEC, "pause_ms": 3.14}
    assert json.loads(output) == {"pid": 9, "epoch": 3, "swap": swap}


def test_content_is_given_up_when_that_is_said(splitvisor, lab):
    assert splitvisor("driver", "swap", "web/disk0", SPEC, "--replace")[0] == 0
    assert lab.asked == [asked(operator.CONTENT_REPLACED)]


def test_a_refusal_is_one_line(splitvisor, lab):
    lab.refusal = grpc.StatusCode.NOT_FOUND, "no device 'web/disk0'"
    said = "splitvisor: no device 'web/disk0'\n"
    assert splitvisor("driver", "swap", "web/disk0", SPEC) == (2, "", said)


def test_what_names_no_device_is_refused(splitvisor, lab):
    for target in ("disk0", "web/", "/disk0", "lab//disk0", "a/b/c/d", ""):
        status, output, errors = splitvisor("driver", "swap", target, SPEC)
        assert (status, output) == (2, "")
        assert errors.startswith(f"splitvisor: {target!r} names no device: write GUEST/DEVICE")
    assert lab.asked == []
