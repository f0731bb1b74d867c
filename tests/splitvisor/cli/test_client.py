import os

import pytest

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
