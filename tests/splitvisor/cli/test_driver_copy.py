"""What `driver swap --copy` and `driver abort` ask of a machine, and what they print."""

import json

import grpc
import pytest

from protos import operator_pb2 as operator
from splitvisor.cli import driver_copy


def migration(state, **fields):
    known = {"device": "web/disk0", "old": "file:path=a", "new": "file:path=b", **fields}
    return operator.Migration(state=state, **known)


@pytest.fixture
def moving(lab, monkeypatch):
    """One that comes to a good end."""
    monkeypatch.setattr(driver_copy, "LOOK", 0)
    lab.migrations += [
        migration(operator.MIGRATION_COPYING),
        migration(operator.MIGRATION_COPYING, done=43, total=100),
        migration(operator.MIGRATION_DONE, done=100, total=100, for_s=2.34, pause_ms=3.14),
    ]
    return lab


def test_a_copy_is_followed_until_it_is_done(splitvisor, moving, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, output, errors = splitvisor(
        *("driver", "swap", "lab/web/disk0", "file:path=b", "--copy", "--rate", "50M")
    )
    assert (status, errors) == (0, "")
    line = "web/disk0: file:path=a → file:path=b, copied in 2.3 s, longest pause 3.1 ms"
    assert output.splitlines()[-1] == line
    begun, *looks = moving.asked
    assert begun == operator.MigrateRequest(
        device="web/disk0", spec="file:path=b", root=str(tmp_path), rate=50 << 20
    )
    assert looks == [operator.MigrationRef(device="web/disk0")] * 2


def test_as_json_each_look_is_a_line(splitvisor, moving):
    status, output, errors = splitvisor(
        *("driver", "swap", "web/disk0", "file:path=b", "--copy", "--json")
    )
    assert (status, errors) == (0, "")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["state"] for line in lines] == ["copying", "copying", "done"]
    assert lines[1]["done"] == 43


def test_one_that_failed_says_why(splitvisor, lab):
    lab.migrations.append(migration(operator.MIGRATION_FAILED, problem="target: no space"))
    status, output, errors = splitvisor("driver", "swap", "web/disk0", "file:path=b", "--copy")
    assert (status, output) == (2, "")
    assert errors == "splitvisor: web/disk0 has not moved: target: no space\n"


def test_what_is_wrong_is_said_in_one_line(splitvisor, lab):
    def said(*words):
        status, output, errors = splitvisor("driver", "swap", "web/disk0", "file:path=b", *words)
        assert (status, output, errors.count("\n")) == (2, "", 1)
        return errors

    assert "--copy keeps the content and --replace gives it up" in said("--copy", "--replace")
    assert "--rate is of a copy: add --copy" in said("--rate", "5M")
    assert "'fast' is not a size" in said("--copy", "--rate", "fast")
    assert not lab.asked
    lab.refusal = (grpc.StatusCode.NOT_FOUND, "device web/disk0 is being copied already")
    assert said("--copy") == "splitvisor: device web/disk0 is being copied already\n"


@pytest.mark.parametrize(
    ("state", "status", "text"),
    [
        (operator.MIGRATION_ABORTED, 0, "web/disk0 keeps its driver: the copy was ended\n"),
        (operator.MIGRATION_DONE, 2, "splitvisor: it was too late: web/disk0: file:path=a → "),
        (operator.MIGRATION_FAILED, 2, "splitvisor: web/disk0 has not moved: x\n"),
    ],
)
def test_an_abort_says_what_became_of_it(splitvisor, lab, state, status, text):
    lab.migrations.append(migration(state, problem="x"))
    found, output, errors = splitvisor("driver", "abort", "web/disk0")
    assert found == status
    assert (output + errors).startswith(text)
    lab.migrations.append(migration(state))
    output = splitvisor("driver", "abort", "lab/web/disk0", "--json")[1]
    assert json.loads(output)["device"] == "web/disk0"
    assert lab.asked == [operator.MigrationRef(device="web/disk0")] * 2


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (operator.MIGRATION_COPYING, "43 %"),
        (operator.MIGRATION_PIVOTING, "copied, the new driver takes over"),
        (operator.MIGRATION_ABORTING, "ended, the old driver takes over again"),
    ],
)
def test_status_and_ps_say_how_far_it_is(splitvisor, lab, state, text):
    moves = [migration(state, done=43, total=100)]
    lab.status.services.add(name="service", migrations=moves)
    guest = lab.status.guests.add(name="web")
    guest.devices.add(name="disk0", model="block", service="service", attached=True)
    line = f"lab/service: web/disk0 is being copied to file:path=b: {text}"
    assert line in splitvisor("service", "status")[1].splitlines()
    assert f"copying {text}" in splitvisor("ps")[1]
