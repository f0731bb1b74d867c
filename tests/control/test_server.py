"""The core's calls on a real core process with real, tiny guests on both CPUs."""

import contextlib
import resource
import threading

import grpc
import pytest

from protos import core_pb2 as pb
from tests.control.calls import Code, names, refused
from tests.microhypervisor import core as guests
from tests.microhypervisor.conftest import BUDGET
from tests.microhypervisor.core import MIB, PATIENCE, process_files, until

# --- what guests do


@pytest.mark.parametrize(
    ("program", "reason", "status"),
    [
        (guests.exits(0), pb.END_EXIT, 0),
        (guests.exits(7), pb.END_EXIT, 7),
        (guests.COUNTS, pb.END_EXIT, 1000),
        (guests.RESETS, pb.END_RESET, 0),
        (guests.POWERS_OFF, pb.END_POWER_OFF, 0),
        (guests.READS_A_HOLE, pb.END_EXIT, 0xFFFFFFFF),
        (guests.READS_A_PORT, pb.END_EXIT, 0xFFFFFFFF),
        (guests.FAULTS, pb.END_TRIPLE_FAULT, 0),
    ],
    ids=["exit 0", "exit 7", "count", "reset", "power off", "hole", "port", "triple fault"],
)
def test_a_guest_runs_and_ends(shared_core, name, cpu, program, reason, status):
    end = shared_core.run(name, cpu, program)
    assert (end.end_reason, end.exit_status) == (reason, status)
    last = shared_core.status(name)
    assert (last.state, last.end_reason, last.exit_status) == (pb.GUEST_ENDED, reason, status)
    assert last.cpu == guests.CPUS[cpu]
    assert [vcpu.state for vcpu in last.vcpus] == ["ended"]
    if reason == pb.END_TRIPLE_FAULT:
        assert "triple fault" in last.report
        assert "rip" in last.report
        assert end.text == last.report


def test_rom_is_read_and_not_written(shared_core, name, cpu):
    rom = pb.Region(kind=pb.REGION_ROM, base=4 * MIB, size=4096)
    ram = pb.Region(base=0, size=4 * MIB)
    shared_core.create(name, cpu, guests.WRITES_ROM, regions=[rom, ram])
    shared_core.load(name, (4 * MIB, b"\xef\xbe\xad\xde"))
    events = shared_core.watch()
    shared_core.call("Start", name)
    assert until(events, pb.EVENT_GUEST_ENDED, name).exit_status == 0xDEADBEEF
    assert shared_core.status(name).rom_writes_refused == 1


def progress(core, name, since=0):
    """Wait until the guest has come out more than `since` times; how often it has."""
    while (exits := core.status(name).vcpus[0].exits) <= since:
        pass
    return exits


def test_pause_stops_the_guest_and_resume_lets_it_go_on(shared_core, name, cpu):
    events = shared_core.watch()
    shared_core.create(name, cpu, guests.SPINS)
    shared_core.call("Start", name)
    progress(shared_core, name)
    for _ in range(3):
        paused = shared_core.call("Pause", name)
        assert paused.state == pb.GUEST_PAUSED
        assert shared_core.call("Pause", name).state == pb.GUEST_PAUSED
        assert shared_core.status(name).vcpus[0].exits == paused.vcpus[0].exits
        assert shared_core.call("Resume", name).state == pb.GUEST_RUNNING
        assert shared_core.call("Resume", name).state == pb.GUEST_RUNNING
        progress(shared_core, name, paused.vcpus[0].exits)
    stopped = shared_core.call("Stop", name)
    assert (stopped.state, stopped.end_reason) == (pb.GUEST_ENDED, pb.END_STOPPED)
    shared_core.call("Destroy", name)
    mine = [e.kind for e in read_until_destroyed(events, name)]
    turns = [pb.EVENT_GUEST_PAUSED, pb.EVENT_GUEST_RESUMED] * 3
    begin, end = [pb.EVENT_GUEST_CREATED, pb.EVENT_GUEST_STARTED], [pb.EVENT_GUEST_ENDED]
    assert mine == [*begin, *turns, *end, pb.EVENT_GUEST_DESTROYED]


def read_until_destroyed(events, name):
    for event in events:
        if event.guest == name:
            yield event
            if event.kind == pb.EVENT_GUEST_DESTROYED:
                return


def test_a_halted_guest_is_stopped(shared_core, name, cpu):
    shared_core.create(name, cpu, guests.HALTS)
    shared_core.call("Start", name)
    assert shared_core.call("Pause", name).state == pb.GUEST_PAUSED
    assert shared_core.call("Stop", name).end_reason == pb.END_STOPPED
    assert shared_core.call("Stop", name).end_reason == pb.END_STOPPED


def test_a_paused_guest_is_stopped(shared_core, name, cpu):
    shared_core.create(name, cpu, guests.SPINS)
    shared_core.call("Start", name)
    shared_core.call("Pause", name)
    assert shared_core.call("Stop", name).state == pb.GUEST_ENDED


def test_the_first_reason_to_end_counts(shared_core, name, cpu):
    shared_core.run(name, cpu, guests.exits(5))
    assert shared_core.call("Stop", name).exit_status == 5


def test_two_guests_at_once(shared_core, name, cpu):
    spinner = next(names)
    shared_core.create(spinner, cpu, guests.SPINS)
    shared_core.call("Start", spinner)
    assert shared_core.run(name, cpu, guests.COUNTS).exit_status == 1000
    seen = shared_core.status(spinner).vcpus[0].exits
    progress(shared_core, spinner, seen)
    shared_core.call("Destroy", spinner)


def test_three_spinning_guests_share_two_pcpus(shared_core, cpu):
    trio = [next(names) for _ in range(3)]
    for each in trio:
        shared_core.create(each, cpu, guests.SPINS, vcpus=2)
        shared_core.call("Start", each)
    seen = {each: progress(shared_core, each) for each in trio}
    for each in trio:
        progress(shared_core, each, seen[each])
        states = [vcpu.state for vcpu in shared_core.status(each).vcpus]
        assert states[1] in ("halted", "waiting")  # for its start-up interrupt
    for each in trio:
        shared_core.call("Destroy", each)


def test_auto_takes_what_describe_says(shared_core, name):
    description = shared_core.stub.Describe(pb.DescribeRequest())
    config = shared_core.config(name, "kvm")
    config.cpu = pb.CPU_AUTO
    assert shared_core.stub.CreateGuest(config).cpu == description.auto_cpu
    assert bool(description.kvm_problem) == (description.auto_cpu == pb.CPU_EMULATED)
    assert description.pid == shared_core.process.pid
    assert description.pcpus == 2
    used = shared_core.stub.Describe(pb.DescribeRequest()).memory_used
    assert (description.memory_budget, used - description.memory_used) == (BUDGET, 4 * MIB)


# --- wrong calls


@pytest.mark.parametrize("verb", ["Start", "Pause", "Resume", "Stop", "Destroy"])
def test_an_unknown_guest_is_not_found(shared_core, verb):
    with refused(Code.NOT_FOUND, "no guest is named nobody"):
        shared_core.call(verb, "nobody")


def test_loading_an_unknown_guest_or_none_is_refused(shared_core):
    with refused(Code.NOT_FOUND, "nobody"):
        shared_core.load("nobody", (0, b"x"))
    with refused(Code.INVALID_ARGUMENT):
        shared_core.load("nobody")


def test_wrong_states_are_told_with_what_would_do(shared_core, name, cpu):
    shared_core.create(name, cpu, guests.SPINS)
    with refused(Code.FAILED_PRECONDITION, f"cannot pause guest {name}", "created"):
        shared_core.call("Pause", name)
    with refused(Code.FAILED_PRECONDITION, "cannot resume"):
        shared_core.call("Resume", name)
    shared_core.call("Start", name)
    with refused(Code.FAILED_PRECONDITION, "cannot start", "running"):
        shared_core.call("Start", name)
    with refused(Code.FAILED_PRECONDITION, "cannot load", "running"):
        shared_core.load(name, (0, b"x"))
    shared_core.call("Stop", name)
    for verb in ("Start", "Pause", "Resume"):
        with refused(Code.FAILED_PRECONDITION, f"cannot {verb.lower()}", "ended"):
            shared_core.call(verb, name)
    shared_core.call("Destroy", name)
    with refused(Code.NOT_FOUND, name):
        shared_core.call("Destroy", name)


def test_a_guest_that_never_started_is_stopped_and_destroyed(shared_core, name):
    shared_core.create(name, "emulated", guests.SPINS)
    assert shared_core.call("Stop", name).end_reason == pb.END_STOPPED
    shared_core.call("Destroy", name)


def test_a_name_is_taken_once(shared_core, name):
    shared_core.create(name, "emulated", guests.SPINS)
    with refused(Code.ALREADY_EXISTS, name):
        shared_core.create(name, "emulated", guests.SPINS)


@pytest.mark.parametrize("address", [4 * MIB - 1, 4 * MIB, 1 << 40, (1 << 64) - 1])
def test_segments_outside_memory_are_refused(shared_core, name, address):
    shared_core.create(name, "emulated", guests.SPINS)
    with refused(Code.INVALID_ARGUMENT, f"{address:#x}", "outside guest memory"):
        shared_core.load(name, (address, b"xx"))


def test_chunks_are_bounded(shared_core, name):
    shared_core.create(name, "emulated", guests.SPINS)
    shared_core.load(name, (0, bytes(2 * MIB)))
    with refused(Code.INVALID_ARGUMENT, "at most"):
        shared_core.load(name, (0, bytes(2 * MIB + 1)))


def test_more_memory_than_the_budget_is_refused_with_numbers(shared_core, name):
    config = shared_core.config(name, "emulated", memory=BUDGET + MIB)
    with refused(Code.RESOURCE_EXHAUSTED, name, "257 MiB", "256 MiB"):
        shared_core.stub.CreateGuest(config)
    config = shared_core.config(name, "emulated", memory=200 * MIB)
    shared_core.stub.CreateGuest(config)
    other = shared_core.config("other", "emulated", memory=100 * MIB)
    with refused(Code.RESOURCE_EXHAUSTED, "100 MiB", "200 of 256 MiB"):
        shared_core.stub.CreateGuest(other)
    shared_core.call("Destroy", name)
    shared_core.stub.CreateGuest(other)
    shared_core.call("Destroy", "other")


RAM = pb.Region(base=0, size=4 * MIB)
VIRTIO = pb.VirtioMmio(base=0xD0000000, irq=5)


def balloon(name):
    return pb.DeviceConfig(name=name, model="balloon", inline_payload=True, virtio=VIRTIO)


IMPOSSIBLE = {
    "no memory": {"regions": []},
    "overlapping memory": {"regions": [RAM, RAM]},
    "odd memory": {"regions": [pb.Region(base=0, size=4097)]},
    "memory of unknown kind": {"regions": [pb.Region(kind=9, base=0, size=4096)]},
    "no vCPU": {"vcpus": 0},
    "too many vCPUs": {"vcpus": 65},
    "no name": {"name": ""},
    "a name too long": {"name": "n" * 300},
    "a name with a zero": {"name": "a\0b"},
    "a name of two lines": {"name": "a\nb"},
    "a name of a device": {"name": "a/b"},
    "a device without a name": {"devices": [balloon("")]},
    "a device with a name of two": {"devices": [balloon("b/c")]},
    "a device with a name too long": {"devices": [balloon("n" * 101)]},
    "a device with a zero": {"devices": [balloon("a\0b")]},
    "an unknown CPU": {"cpu": 9},
    "an unknown power action": {"power_ports": [pb.PowerPort(port=1, action=9)]},
}


@pytest.mark.parametrize("wrong", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_impossible_guests_are_refused_and_leave_nothing(shared_core, wrong):
    config = shared_core.config(next(names), "emulated")
    for field, value in wrong.items():
        if isinstance(value, list):
            config.ClearField(field)
            getattr(config, field).extend(value)
        else:
            setattr(config, field, value)
    before = shared_core.stub.ListGuests(pb.ListRequest())
    try:
        with refused(Code.INVALID_ARGUMENT):
            shared_core.stub.CreateGuest(config, timeout=PATIENCE)
        assert shared_core.stub.ListGuests(pb.ListRequest()) == before
    finally:
        with contextlib.suppress(grpc.RpcError):
            shared_core.call("Destroy", config.name)


def test_registers_that_the_cpu_refuses_are_a_clear_error_and_the_guest_can_go(shared_core, name):
    registers = pb.Registers(rip=guests.ENTRY, cr0=1, cr4=1 << 63)
    config = shared_core.config(name, "kvm", registers=registers)
    config.cpu = pb.CPU_AUTO
    try:
        shared_core.stub.CreateGuest(config, timeout=PATIENCE)
        shared_core.call("Start", name)
    except grpc.RpcError as error:
        assert error.code() is Code.INVALID_ARGUMENT, error.details()  # noqa: PT017
    if name in [g.name for g in shared_core.stub.ListGuests(pb.ListRequest()).guests]:
        assert shared_core.call("Stop", name).state == pb.GUEST_ENDED


@pytest.mark.parametrize("kind", ["virtio", "ports"])
def test_a_device_of_a_service_that_is_not_connected_is_refused(shared_core, name, kind):
    device = pb.DeviceConfig(name="disk", service="absent", model="block", spec="memory:1M")
    if kind == "virtio":
        device.virtio.CopyFrom(VIRTIO)
    else:
        device.ports.base, device.ports.count, device.ports.irq = 0x3F8, 8, 4
    config = shared_core.config(name, "emulated", devices=[device])
    with refused(Code.UNAVAILABLE, "service absent is not connected"):
        shared_core.stub.CreateGuest(config)
    assert name not in [g.name for g in shared_core.stub.ListGuests(pb.ListRequest()).guests]


def test_a_service_whose_sockets_do_not_exist_refuses_every_device(shared_core, name, tmp_path):
    address, grants = str(tmp_path / "io"), str(tmp_path / "grants")
    endpoint = pb.ServiceEndpoint(name="ghost", epoch=1, address=address, grant_address=grants)
    assert shared_core.stub.ConnectService(endpoint).attached == 0
    for inline in (False, True):
        device = pb.DeviceConfig(name="disk", service="ghost", virtio=VIRTIO)
        device.inline_payload = inline
        config = shared_core.config(name, "emulated", devices=[device])
        with refused(Code.UNAVAILABLE, "device disk: "):
            shared_core.stub.CreateGuest(config, timeout=PATIENCE)
    with refused(Code.INVALID_ARGUMENT, "epoch 1 is not after 1"):
        shared_core.stub.ConnectService(endpoint)


# --- nobody holds anybody up


def test_a_loader_that_does_not_go_on_holds_up_nobody(shared_core, name):
    shared_core.create(name, "emulated", guests.exits(0))
    stop = threading.Event()

    def chunks():
        yield pb.MemoryChunk(guest=name, address=0, data=b"x")
        stop.wait(PATIENCE)

    loading = shared_core.stub.LoadGuest.future(chunks())
    try:
        other = next(names)
        config = shared_core.config(other, "emulated")
        shared_core.stub.CreateGuest(config, timeout=PATIENCE / 2)  # the loader hangs longer
        shared_core.call("Destroy", other)
    finally:
        stop.set()
        loading.result(PATIENCE)


def test_no_number_of_loaders_holds_up_the_other_calls(shared_core, name):
    shared_core.create(name, "emulated", guests.exits(0))
    before, stop = shared_core.status(name).resident, threading.Event()

    def chunks(page):
        yield pb.MemoryChunk(guest=name, address=page << 12, data=b"x")
        stop.wait(PATIENCE)

    loading = [shared_core.stub.LoadGuest.future(chunks(page)) for page in range(2, 34)]
    try:
        resident = 0
        while resident < before + (len(loading) << 12):  # each holds its call open
            listed = shared_core.stub.ListGuests(pb.ListRequest(), timeout=PATIENCE / 2)
            (resident,) = [guest.resident for guest in listed.guests if guest.name == name]
        other = pb.ServiceEndpoint(name=name, epoch=1)
        shared_core.stub.ConnectService(other, timeout=PATIENCE / 2)
    finally:
        stop.set()
        for each in loading:
            each.result(PATIENCE)


def test_a_host_without_descriptors_is_told_of_in_one_line(core):
    config = core.config("tiny", "emulated", devices=[balloon("balloon0")])
    core.stub.CreateGuest(config, timeout=PATIENCE)  # what it loads for that is there from now on
    core.call("Destroy", "tiny")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    taken = {int(file.name) for file in process_files(core)}
    free = [fd for fd in range(len(taken) + 64) if fd not in taken]
    for most in free:
        resource.prlimit(core.process.pid, resource.RLIMIT_NOFILE, (most, hard))
        try:
            core.stub.CreateGuest(config, timeout=PATIENCE)
        except grpc.RpcError as error:
            assert error.code() is Code.RESOURCE_EXHAUSTED, error.details()  # noqa: PT017
            assert "Too many open files" in error.details()  # noqa: PT017
        else:
            break
    assert most > free[2]
    assert core.status("tiny")


def test_no_number_of_watchers_holds_up_the_other_calls(shared_core):
    watchers = [shared_core.stub.WatchEvents(pb.WatchRequest()) for _ in range(16)]
    try:
        for watcher in watchers:  # each has begun, or been refused
            with contextlib.suppress(grpc.RpcError):
                watcher.initial_metadata()
        assert shared_core.stub.Describe(pb.DescribeRequest(), timeout=PATIENCE).pid
    finally:
        for watcher in watchers:
            watcher.cancel()


def test_watchers_that_left_are_forgotten(shared_core):
    for _ in range(40):
        shared_core.watch().cancel()
    assert shared_core.stub.Describe(pb.DescribeRequest(), timeout=PATIENCE).pid
