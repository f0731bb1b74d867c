"""Every mistake is one line that names the thing, exit status 2, and leaves nothing behind."""

import os
import struct
import subprocess

import pytest

from tests.end_to_end.conftest import OBEY


@pytest.fixture
def refused(splitvisor):
    """Run something that must be refused; the line."""

    def run(*arguments):
        status, output, errors = splitvisor(*arguments)
        assert (status, output) == (2, ""), errors
        (line,) = errors.splitlines()
        assert line.startswith("splitvisor: ")
        return line

    return run


def spoiled(path, offset, data):
    contents = bytearray(path.read_bytes())
    contents[offset : offset + len(data)] = data
    return bytes(contents)


@pytest.fixture
def image(tmp_path, guest):
    """Write a bad image."""

    def write(contents):
        path = tmp_path / "bad.elf"
        path.write_bytes(contents)
        return path

    return write


def test_an_image_that_is_missing_a_directory_or_no_elf_file(refused, image, tmp_path):
    assert "nothing.elf does not exist" in refused("run", tmp_path / "nothing.elf")
    assert "is a directory" in refused("run", tmp_path)
    assert "bad.elf" in refused("run", image(b""))
    assert "not an ELF file" in refused("run", image(b"#!/bin/sh\n"))


@pytest.mark.parametrize("part", [20, 100, 1000])
def test_a_truncated_image(refused, image, guest, part):
    assert "truncated" in refused("run", image(guest("hello").read_bytes()[:part]))


def test_an_image_for_another_machine(refused, image, guest):
    line = refused("run", image(spoiled(guest("hello"), 18, struct.pack("<H", 183))))
    assert "AARCH64" in line
    assert "x86-64" in line


def test_an_image_without_entry_note(refused, image, guest):
    contents = guest("hello").read_bytes().replace(b"Xen\0", b"Xon\0")
    assert "note" in refused("run", image(contents))


def test_segments_outside_memory(refused, tiny, guest):
    path = tiny(b"\xf4")
    path.write_bytes(spoiled(path, 64 + 24, struct.pack("<Q", 0x10000000)))
    assert "--memory" in (line := refused("run", path)) or "memory" in line
    assert "tiny" in line


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(bytes(1000)), "multiple of 512"),
        (lambda path: path.write_bytes(b""), "disk.img"),
        (os.mkfifo, "disk.img"),
    ],
    ids=["missing", "directory", "odd", "empty", "fifo"],
)
def test_a_disk_that_is_none(refused, guest, tmp_path, make, words):
    path = tmp_path / "disk.img"
    make(path)
    line = refused("run", guest("hello"), "--disk", f"file:path={path}")
    assert words in line
    assert "disk0" in line


def test_a_disk_that_may_not_be_read(refused, splitvisor, guest, disk):
    path = disk(1)
    path.chmod(0)
    splitvisor.wrapper = OBEY
    assert "permission" in refused("run", guest("hello"), "--disk", f"file:path={path}").lower()


@pytest.mark.parametrize(
    ("option", "spec", "words"),
    [
        ("--disk", "fiel:path=x", "'file'"),
        ("--disk", "file:pth=x", "'path'"),
        ("--disk", "file", "path"),
        ("--disk", "file:path=x,readonly=perhaps", "readonly"),
        ("--disk", "memory:size=1", "size"),
        ("--disk", "", "character 1"),
        ("--disk", 'file:path="x', "quote"),
        ("--console", "termnal", "'terminal'"),
        ("--serial", "lug:path=x", "'log'"),
        ("--entropy", "sistem", "'system'"),
        ("--console", "log:path=/nonexistent/x.log", "/nonexistent/x.log"),
    ],
)
def test_drivers_and_options_that_do_not_exist(refused, guest, option, spec, words):
    assert words in refused("run", guest("hello"), option, spec)


@pytest.mark.parametrize(
    ("memory", "words"),
    [("1M", "2M"), ("900G", "921600 MiB"), ("2049K", "4K"), ("lots", "64M"), ("-1", "-1")],
)
def test_memory_that_cannot_be(refused, guest, memory, words):
    assert words in refused("run", guest("hello"), f"--memory={memory}")


@pytest.mark.parametrize("vcpus", ["0", "-1", "1000", "two"])
def test_vcpus_that_cannot_be(refused, guest, vcpus):
    assert "vcpus" in refused("run", guest("hello"), f"--vcpus={vcpus}")


def test_more_disks_than_places(refused, guest):
    disks = ["--disk=memory:size=1M"] * 40
    assert "no place for device" in refused("run", guest("hello"), *disks)


def test_arguments_that_do_not_fit(refused, guest):
    assert "command line" in refused("run", guest("hello"), "--", "x" * 100_000)


def test_a_socket_path_too_long(splitvisor, refused, guest):
    splitvisor.run_root = splitvisor.run_root / ("x" * 100)
    assert "--run-root" in refused("run", guest("hello"))
    assert not splitvisor.run_root.exists()


def test_a_run_root_that_cannot_be(splitvisor, refused, guest, tmp_path):
    (tmp_path / "file").touch()
    splitvisor.run_root = tmp_path / "file" / "root"
    assert "--run-root" in refused("run", guest("hello"))
    splitvisor.run_root = tmp_path / "nothing"


def test_a_run_root_that_may_not_be_written(splitvisor, refused, guest):
    splitvisor.run_root.mkdir(mode=0o500)
    splitvisor.wrapper = OBEY
    line = refused("run", guest("hello"))
    assert f"run directory {splitvisor.run_root}/hello cannot be made" in line
    assert "--run-root" in line


@pytest.mark.parametrize("arguments", [["ps"], ["ps", "--json"], ["--help"], ["run", "--help"]])
def test_output_that_cannot_be_written_is_one_line(splitvisor, arguments):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            splitvisor.command(*arguments), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 126
    assert done.stderr == (
        b"splitvisor: standard output cannot be written: No space left on device: "
        b"send it elsewhere\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("this is not TOML", "not TOML"),
        ("[guests.web]\n", "guests.web.image"),
        ('[guests.web]\nimage = "x"\nmemroy = "1G"\n', "'memory'"),
        ('[guests.web]\nimage = "missing"\n', "missing does not exist"),
        ('[guests."W W"]\nimage = "x"\n', "W W"),
        ("", "guests"),
    ],
)
def test_a_machine_file_that_is_wrong(refused, tmp_path, text, words):
    path = tmp_path / "lab.toml"
    path.write_text(text)
    assert words in refused("up", path)


def test_a_machine_file_that_is_missing(refused, tmp_path):
    assert "none.toml does not exist" in refused("up", tmp_path / "none.toml")


@pytest.mark.skipif(
    os.geteuid() != 0 and os.access("/dev/kvm", os.R_OK),
    reason="only root can take the permission away, and only from itself",
)
def test_no_permission_on_kvm(refused, splitvisor, guest, tmp_path):
    if os.geteuid() == 0:
        (tmp_path / "kvm").touch(mode=0)
        hide = f'mount --bind {tmp_path}/kvm /dev/kvm && exec {" ".join(OBEY)} "$@"'
        splitvisor.wrapper = ["unshare", "--mount", "sh", "-c", hide, "sh"]
    assert "no permission on /dev/kvm" in refused("run", guest("hello"), "--cpu", "kvm")


def test_a_service_os_that_cannot_start(refused, guest, tmp_path, monkeypatch):
    """A broken package stands in for a broken installation."""
    (tmp_path / "service_os").mkdir()
    (tmp_path / "service_os" / "__init__.py").write_text("raise SystemExit('it is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    line = refused("run", guest("hello"))
    assert "service OS service could not start (exit status 1): it is broken" in line
