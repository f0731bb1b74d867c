"""The simulator notices: with each of these in place of production code it finds something."""

import pytest

from microhypervisor.devices.port_device import PortDevice
from microhypervisor.devices.served import ServedDevice
from microhypervisor.inflight import InflightLog
from microhypervisor.memory.window import GrantWindow
from microhypervisor.virtio.virtqueue import Virtqueue
from service_os.models import block
from service_os.models.block import BlockModel
from service_os.models.uart import UartModel
from sessions.dialogue import Dialogue
from splitvisor.supervisor.recovery import Recovery, State
from tests.simulation import Violation, run

SEED = 1
BOUND = 200_000  # steps within which each is found

_accept = ServedDevice.accept
_begin_epoch = InflightLog.begin_epoch
_push = Virtqueue.push
_collect = PortDevice.collect
_execute = BlockModel.execute
_other = BlockModel._other
_await_replayed = Dialogue._await_replayed
_lose_active = Recovery._lose_active
_blame = Recovery._blame
_restore = UartModel._restore


def any_epoch(device, message, epoch, window):
    return _accept(device, message, message.epoch, window)


def any_generation(log, slot, generation):
    return log._entries.get(slot)


def no_replay(log):
    _begin_epoch(log)
    return []


def replay_backwards(log):
    return _begin_epoch(log)[::-1]


def slot_zero_is_forgotten(log):
    return [entry for entry in _begin_epoch(log) if entry.slot]


def never_retired(log, entry):
    pass


def nobody_is_an_orphan(log):
    log._entries.clear()


def what_was_taken_back_is_sent(device, entry):
    return True


def used_twice(queue, used):
    return _push(queue, used + used[:1])


def interrupts_get_lost(queue, used):
    return _push(queue, used) and queue._next_used % 16 != 0


def what_may_be_written_is_not_cleared(window, slot, ram, readable, writable_bytes):
    at = slot * window.stride
    for offset, length in readable:
        window._view[at : at + length] = ram[offset : offset + length]
        at += length


def state_is_not_kept(device, message, epoch, window):
    message.ClearField("state")
    return _accept(device, message, epoch, window)


def one_byte_too_few(model, queue, header, readable, writable):
    return max(0, _execute(model, queue, header, readable, writable) - 1)


def flush_is_early(model, kind, *rest):
    if kind != block.T_FLUSH:
        _other(model, kind, *rest)


def new_before_replayed(dialogue, entries):
    dialogue._owed = []
    yield from _await_replayed(dialogue, entries)


def connected_before_reaped(recovery, why, dead):
    _lose_active(recovery, why, dead)
    if recovery.state is State.FENCING and recovery.active is not None:
        recovery.active.reaped = True
        recovery._fenced(recovery.active)


def lost_standbys_are_kept(recovery, standby, why):
    pass


def somebody_else_is_blamed(recovery, device):
    _blame(recovery, "g/entropy0" if device != "g/entropy0" else "g/console0")


def collected_twice(device):
    entries = _collect(device)
    seen = vars(device).setdefault("seen", set())
    device._fresh = [e for e in entries if e.generation not in seen] + device._fresh
    seen.update(e.generation for e in entries)
    return entries


def scratch_is_not_handed_over(model, state):
    _restore(model, state)
    model._scr = 0


PLANTED = [
    (ServedDevice, "accept", any_epoch),
    (InflightLog, "find", any_generation),
    (InflightLog, "begin_epoch", no_replay),
    (InflightLog, "begin_epoch", replay_backwards),
    (InflightLog, "begin_epoch", slot_zero_is_forgotten),
    (InflightLog, "retire", never_retired),
    (InflightLog, "orphan_all", nobody_is_an_orphan),
    (ServedDevice, "recall", what_was_taken_back_is_sent),
    (Virtqueue, "push", used_twice),
    (Virtqueue, "push", interrupts_get_lost),
    (GrantWindow, "offer", what_may_be_written_is_not_cleared),
    (ServedDevice, "accept", state_is_not_kept),
    (BlockModel, "execute", one_byte_too_few),
    (BlockModel, "_other", flush_is_early),
    (Dialogue, "_await_replayed", new_before_replayed),
    (Recovery, "_lose_active", connected_before_reaped),
    (Recovery, "_lose_standby", lost_standbys_are_kept),
    (Recovery, "_blame", somebody_else_is_blamed),
    (PortDevice, "collect", collected_twice),
    (UartModel, "_restore", scratch_is_not_handed_over),
]


# Steps without which it hardly shows, and how often they are tried.
OFTEN = {what_was_taken_back_is_sent: {"reset": 8}}


@pytest.mark.parametrize("planted", PLANTED, ids=[bug.__name__ for _, _, bug in PLANTED])
def test_it_is_found(planted, monkeypatch):
    owner, name, bug = planted
    monkeypatch.setattr(owner, name, bug)
    with pytest.raises(Violation) as found:
        run(SEED, BOUND, **OFTEN.get(bug, {}))
    print(f"seed {found.value.seed}, step {found.value.step}: {found.value}")
    assert found.value.transcript
