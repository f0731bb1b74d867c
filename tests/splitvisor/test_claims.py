import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from drivers import registry
from drivers.interface import Child
from splitvisor.claims import refuse_shared_files
from splitvisor.errors import UserError
from splitvisor.machine import Device, Guest, Machine, Model


def machine(*disks, logs=()):
    """One guest `web` with disks and consoles, and a second, `db`, with the last console."""
    web = [Device(f"disk{i}", Model.BLOCK, spec) for i, spec in enumerate(disks)]
    consoles = [Device(f"hvc{i}", Model.CONSOLE, spec) for i, spec in enumerate(logs)]
    return Machine(
        "lab",
        (
            Guest("web", Path("a.elf"), devices=(*web, *consoles[:-1])),
            Guest("db", Path("a.elf"), devices=tuple(consoles[-1:])),
        ),
    )


class Pair:
    """A driver on two others."""

    @dataclass
    class Options:
        children: tuple[Child, ...]

    @staticmethod
    def claims(options):
        return [claim for child in options.children for claim in child.claims()]


@pytest.fixture
def lent(monkeypatch):
    """`block.pair` is installed."""
    find = registry.find
    monkeypatch.setattr(
        registry, "find", lambda kind, name: Pair if name == "pair" else find(kind, name)
    )


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "d.img"
    path.write_bytes(bytes(512))
    return path


@pytest.mark.parametrize("flags", [("", ""), ("", ",readonly"), (",readonly", "")])
def test_a_disk_that_is_written_is_no_other_disk(image, flags):
    with pytest.raises(UserError) as raised:
        refuse_shared_files(machine(*(f"file:path={image}{flag}" for flag in flags)))
    assert f"file {image} is used by web/disk0 and web/disk1" in str(raised.value)
    assert "give each a file of its own" in str(raised.value)


def test_disks_that_are_only_read_may_share(image):
    refuse_shared_files(machine(*[f"file:path={image},readonly"] * 3))


def test_other_paths_to_a_file_are_the_file(image, tmp_path, monkeypatch):
    os.link(image, tmp_path / "hard")
    (tmp_path / "soft").symlink_to("d.img")
    monkeypatch.chdir(tmp_path)
    for other in ("d.img", "hard", "soft"):
        with pytest.raises(UserError, match=f"the same file as {other}"):
            refuse_shared_files(machine(f"file:path={image}", f"file:path={other}"))


def test_a_log_that_does_not_exist_yet_has_one_writer_in_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for other in ("x.log", f"{tmp_path}/x.log", "link/x.log"):
        with pytest.raises(UserError, match="used by web/hvc0 and db/hvc1"):
            refuse_shared_files(machine(logs=("log:path=x.log", f"log:path={other}")))
    refuse_shared_files(machine(logs=("log:path=x.log", "log:path=y.log")))
    assert not (tmp_path / "x.log").exists()


def test_a_log_does_not_go_onto_a_disk(image):
    for flag in ("", ",readonly"):
        with pytest.raises(UserError, match="used by web/disk0 and db/hvc0"):
            refuse_shared_files(machine(f"file:path={image}{flag}", logs=(f"log:path={image}",)))


def test_what_two_devices_keep_is_in_places_of_their_own():
    twice = machine("memory:size=1M", "memory:size=1M", "memory:size=1M,name=other")
    third = Guest("db", Path("a.elf"), devices=twice.guests[0].devices)
    refuse_shared_files(replace(twice, guests=(*twice.guests[:1], third)))


def test_a_stack_that_uses_a_file_twice_is_refused_in_other_words(image, lent):
    for flags in (("", ""), ("", ",readonly")):
        a, b = (f"(file:path={image}{flag})" for flag in flags)
        with pytest.raises(UserError) as raised:
            refuse_shared_files(machine(f"pair:children=({a},{b})"))
        assert f"file {image} is used twice by web/disk0, and not only read" in str(raised.value)
    refuse_shared_files(machine("pair:children=({0},{0})".format(f"(file:path={image},readonly)")))


def test_memory_disks_of_one_stack_need_names(lent):
    with pytest.raises(UserError, match=r"used twice by web/disk0: give each disk a name=\.\.\."):
        refuse_shared_files(machine("pair:children=((memory:size=1M),(memory:size=1M))"))
    refuse_shared_files(machine("pair:children=((memory:size=1M),(memory:size=1M,name=b))"))


def nbd(more, tmp_path):
    return f"nbd:socket={tmp_path}/x.sock{more}"


@pytest.mark.parametrize("flags", [("", ""), ("", ",readonly"), (",readonly", "")])
def test_an_export_that_is_written_is_no_other_disk(tmp_path, flags, lent):
    one, other = (nbd(f",export=web{flag}", tmp_path) for flag in flags)
    place = f"NBD server unix:{tmp_path}/x.sock export 'web'"
    with pytest.raises(UserError) as raised:
        refuse_shared_files(machine(one, f"throttle:iops=5,child=({other})"))
    said = f"{place} is used by web/disk0 and web/disk1, and not only read: give each an export of"
    assert str(raised.value) == f"{said} its own (readonly disks may share one)"
    with pytest.raises(UserError) as raised:
        refuse_shared_files(machine(f"pair:children=(({one}),({other}))"))
    said = f"{place} is used twice by web/disk0, and not only read: give each driver an export of"
    assert str(raised.value) == f"{said} its own"


def test_exports_of_their_own_or_that_are_only_read_are_no_clash(tmp_path):
    refuse_shared_files(machine(*[nbd(",readonly", tmp_path)] * 3))
    refuse_shared_files(machine(nbd("", tmp_path), nbd(",export=web", tmp_path)))
    refuse_shared_files(machine("nbd:host=a", "nbd:host=a,port=10810", "nbd:host=b"))
    with pytest.raises(UserError, match="NBD server a:10809 is used by web/disk0 and web/disk1"):
        refuse_shared_files(machine("nbd:host=a", "nbd:host=a,port=10809"))


def test_another_path_to_a_socket_is_the_server(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match=f"NBD server unix:{tmp_path}/x.sock is used by"):
        refuse_shared_files(machine(nbd("", tmp_path), nbd("", tmp_path / "link")))


def test_character_devices_and_drivers_without_files_clash_with_nothing():
    logs = ("log:path=/dev/null", "log:path=/dev/null", "terminal", "terminal")
    refuse_shared_files(machine("memory:size=1M", "memory:size=1M", logs=logs))
