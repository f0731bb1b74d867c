"""The benchmark against QEMU: how its runs are judged, and one small run of it."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from benchmarks import qemu_machine, qemu_peer
from benchmarks.qemu_peer import Kill, judge

KILLS = [Kill(at=2.0, listens=0.01, resumed=1.0), Kill(at=5.0, listens=0.01, resumed=0.5)]
GAPS = (
    "storm: gap 3000 at 500\n"
    "storm: gap 2500 at 2001\n"
    "storm: gap 1001000 at 3002\n"
    "storm: gap 4000 at 3900\n"
    "storm: gap 502000 at 5499\n"
)


def test_a_gap_belongs_to_the_kill_it_ends_after():
    outcome = judge(GAPS + "storm: PASS 9 requests\n", "", KILLS, False)
    assert outcome.outages == (1.001, 0.502)
    assert (outcome.verdict, outcome.words) == ("PASS", "storm: PASS 9 requests")
    assert not outcome.doubled


def test_a_kill_after_which_nothing_moved_has_no_outage():
    outcome = judge(GAPS, "", [Kill(2.0, 0.01, None)], True)
    assert (outcome.verdict, outcome.outages) == ("HUNG", (None,))


def test_a_kill_without_a_gap_near_it_has_no_outage():
    assert judge("storm: gap 3000 at 500\n", "", KILLS, True).outages == (None, None)


def test_the_guest_has_the_last_word_even_if_it_never_ended():
    text = "storm: FAIL completion of descriptor 48, which is not in flight\n"
    outcome = judge(text, "qemu: warning", KILLS, True)
    assert (outcome.verdict, outcome.doubled) == ("FAIL", True)


def test_data_that_is_wrong_is_no_second_completion():
    assert not judge("storm: FAIL LBA 8, read 3: more came\n", "", KILLS, False).doubled


def test_without_the_guests_word_qemu_is_quoted():
    outcome = judge(GAPS, "warning\nqemu: boom\n", KILLS, False)
    assert (outcome.verdict, outcome.words) == ("DIED", "qemu: boom")


@pytest.mark.parametrize(
    ("version", "option"),
    [("7.2.22", "reconnect=1"), ("9.1.0", "reconnect=1"), ("9.2.0", "reconnect-ms=10")],
)
def test_the_quickest_reconnect_of_a_version(version, option):
    assert qemu_machine.reconnect(version) == option


def test_without_qemu_one_line_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    qemu_peer.main()
    assert capsys.readouterr().out == (
        "QEMU side by side: skipped, qemu-system-x86_64 and qemu-storage-daemon not installed: "
        "apt-get install qemu-system-x86 qemu-system-common\n"
    )


def processes(folder):
    """Command lines that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if str(folder).encode() in command:
            found.append(command)
    return found


def needs_qemu(test):
    """QEMU, the daemon, KVM and the guests."""
    absent = qemu_machine.missing()
    guests = (qemu_peer.IMAGES / "storm").exists()
    for mark in (
        *(pytest.mark.qemu, pytest.mark.kvm, pytest.mark.skipif(bool(absent), reason=absent)),
        pytest.mark.skipif(not guests, reason="no guests: run 'make guests'"),
    ):
        test = mark(test)
    return test


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Where runs have their folders; afterwards nothing of them is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert processes(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@needs_qemu
def test_one_kill(folder, capsys):
    load = qemu_peer.storm("depth=1 writes=0", kills=1, every=0.5)
    outcome = qemu_peer.measure(load, kills=1, every=0.5)
    assert outcome.verdict == "PASS", outcome.words
    [kill], [outage] = outcome.kills, outcome.outages
    assert kill.resumed
    assert outage
    assert 0 < kill.listens < kill.resumed
    assert kill.resumed / 2 < outage < kill.resumed + 1
    qemu_peer.show([outcome], [], [])
    assert "1 of 1" in capsys.readouterr().out


@needs_qemu
def test_a_daemon_that_never_answers_hangs_the_guest(folder, monkeypatch):
    made = []

    class Mute(qemu_machine.Daemon):
        """The second one is stopped before QEMU comes back to it."""

        def __init__(self, place):
            super().__init__(place)
            made.append(self.pid)
            if len(made) == 2:
                os.kill(self.pid, signal.SIGSTOP)

    monkeypatch.setattr(qemu_peer, "Daemon", Mute)
    monkeypatch.setattr(qemu_peer, "PATIENCE", 4.0)
    outcome = qemu_peer.measure(qemu_peer.blockcheck("depth=1 passes=9"), kills=2, every=0.3)
    assert (outcome.verdict, len(outcome.kills), outcome.outages) == ("HUNG", 1, (None,))
