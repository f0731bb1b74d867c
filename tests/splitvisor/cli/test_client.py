import os
import re

import pytest

from protos import operator_pb2 as operator
from splitvisor.cli import client
from splitvisor.errors import UserError
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.run_directory import claim


@pytest.fixture
def two(tmp_path):
    directories = [claim(tmp_path, name, ("service",)) for name in ("lab", "shop")]
    yield tmp_path
    for directory in directories:
        directory.remove()


def test_the_only_machine_need_not_be_named(tmp_path):
    directory = claim(tmp_path, "lab", ("service",))
    assert client.choose(tmp_path, "").name == client.choose(tmp_path, "lab").name == "lab"
    directory.remove()


@pytest.mark.parametrize(
    ("name", "line"),
    [("", "which machine\\? There are lab, shop"), ("lap", "no machine 'lap'.* 'lab'")],
)
def test_a_name_that_does_not_decide_is_a_users_error(two, name, line):
    with pytest.raises(UserError, match=line):
        client.choose(two, name)


@pytest.fixture
def guests(monkeypatch):
    """What `lab` and `shop` have; None for one that does not answer."""
    having = {"lab": ["web"], "shop": ["till", "both"]}

    def status(machine):
        if having[machine.name] is None:
            raise MachineError("it is starting or ending")
        reply = operator.MachineStatus(name=machine.name)
        for name in having[machine.name]:
            reply.guests.add(name=name)
        return reply

    monkeypatch.setattr(client, "status", status)
    return having


def test_a_device_is_of_the_only_machine_that_has_its_guest(two, guests):
    machine, device = client.choose_device(two, "till/disk0")
    assert (machine.name, device) == ("shop", "till/disk0")
    machine, device = client.choose_device(two, "lab/till/disk0")
    assert (machine.name, device) == ("lab", "till/disk0")


@pytest.mark.parametrize(
    ("guest", "lab", "names", "first"),
    [
        ("both", ["both", "more"], "lab, shop", "lab"),
        ("none", ["web"], "lab, shop", "lab"),
        ("till", None, "lab, shop", "lab"),
    ],
)
def test_which_machine_a_device_is_of_is_asked_with_the_cure(two, guests, guest, lab, names, first):
    guests["lab"] = lab
    line = f"which machine? There are {names}: write MACHINE/{guest}/d, as {first}/{guest}/d"
    with pytest.raises(UserError, match=re.escape(line) + "$"):
        client.choose_device(two, f"{guest}/d")


@pytest.mark.parametrize(
    ("text", "parts"),
    [("", ("", "")), ("lab", ("lab", "")), ("lab/web", ("lab", "web")), ("/web", ("", "web"))],
)
def test_names_of_parts(text, parts):
    assert client.split_name(text) == parts


def test_a_machine_that_does_not_answer_yet_is_named_with_its_pid_and_without_internals(two):
    with pytest.raises(MachineError) as failure:
        client.status(client.choose(two, "lab"))
    who = f"machine lab (pid {os.getpid()})"
    assert str(failure.value) == f"{who} is starting or ending: ask again in a moment"


def test_a_slash_with_nothing_behind_it_does_not_mean_the_whole(two):
    with pytest.raises(UserError, match="'lab/' has no name behind the slash"):
        client.split_name("lab/")
