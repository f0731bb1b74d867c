"""`splitvisor run`: one guest, its console on this terminal."""

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from protos import core_pb2 as core
from splitvisor.cli import status as exit_status
from splitvisor.cli.launch import launch, note
from splitvisor.cli.narrate import describe, is_stall, matters
from splitvisor.cli.paths import GivenPath
from splitvisor.machine import (
    CLOCK,
    DEFAULT_SERVICE,
    NAME_LIMIT,
    VIRTIO_CLOCK,
    CpuChoice,
    Device,
    Guest,
    Machine,
    Model,
    OnReset,
    ServiceSettings,
    standard_devices,
    tagged,
)
from splitvisor.outages import parse_outage
from splitvisor.supervisor import events
from splitvisor.supervisor.supervisor import Supervisor
from splitvisor.units import parse_size

_EPILOG = """
\b
Exit status:
  0..255  what the guest wrote to port 0xf4 (larger values: 255); 0 for a power off
  2       a mistake in what you asked for, told in one line
  125     a fault ended the guest; registers and reason are on standard error
  126     the machine failed, its core died for example; or output cannot be written
  130     Ctrl-C;  143  SIGTERM or 'splitvisor stop'
  141     nobody reads standard output any more

\b
Examples:
  splitvisor run build/guests/hello
  splitvisor run build/guests/hello --cpu emulated -- exit=3
  splitvisor run build/guests/blockcheck --disk file:path=disk.img --vcpus 2 -- depth=32
  splitvisor run build/guests/echo --console terminal --serial log:path=serial.log
  splitvisor run build/guests/blockcheck --disk memory:size=16M --outage 'error after 2s'
  splitvisor run build/guests/blockcheck --disk memory:size=16M --no-standby --failpoints
"""


class _RunCommand(click.Command):
    """Keeps the words behind `--`, which click drops, apart from those before."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Only what stands behind `--` is the guest's."""
        end = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:end])
        if stray := ctx.params["arguments"]:
            raise click.UsageError(
                f"{stray[0]!r} is one word too many: write -- before the guest's arguments.", ctx
            )
        ctx.params["arguments"] = tuple(args[end + 1 :])
        return rest


@click.command(cls=_RunCommand, epilog=_EPILOG)
@click.argument("image", type=GivenPath(path_type=Path))
@click.argument("arguments", nargs=-1, metavar="[-- GUEST ARGUMENTS]")
@click.option(
    "--disk",
    "disks",
    multiple=True,
    metavar="SPEC",
    help="A disk, such as 'file:path=disk.img,readonly' or 'memory:size=64M'; may be repeated.",
)
@click.option(
    "--console", default="terminal", show_default=True, metavar="SPEC", help="The virtio console."
)
@click.option(
    "--serial", default="terminal", show_default=True, metavar="SPEC", help="The UART at 0x3f8."
)
@click.option(
    "--entropy", default="system", show_default=True, metavar="SPEC", help="The source of entropy."
)
@click.option(
    "--net",
    "nets",
    multiple=True,
    metavar="SPEC",
    help="A network card, such as 'user' or 'tap:ifname=tap0'; may be repeated.",
)
@click.option(
    "--folder",
    "folders",
    multiple=True,
    metavar="SPEC",
    help="A shared folder, such as 'directory:path=/srv/share'; may be repeated. The guest mounts "
    "them by 9P and the tags share0, share1, ...",
)
@click.option("--clock", metavar="SPEC", help="A PC's real-time clock, such as 'system'.")
@click.option("--virtio-clock", metavar="SPEC", help="A clock that is read by virtio (virtio-rtc).")
@click.option(
    "--device",
    "others",
    multiple=True,
    metavar="SPEC",
    help="A virtio device of another kind, by a driver that you installed; may be repeated.",
)
@click.option(
    "--memory", default="64M", show_default=True, metavar="SIZE", help="RAM, such as 64M or 1G."
)
@click.option("--vcpus", default=1, show_default=True, metavar="N", help="Virtual processors.")
@click.option(
    "--cpu",
    type=click.Choice([choice.value for choice in CpuChoice]),
    default="auto",
    show_default=True,
    help="The CPU back end; auto takes KVM where it works.",
)
@click.option("--name", metavar="NAME", help="The guest's name.  [default: from the image's]")
@click.option("--inline", is_flag=True, help="Payload travels in messages, not in shared memory.")
@click.option(
    "--on-reset",
    type=click.Choice([choice.value for choice in OnReset]),
    default="restart",
    show_default=True,
    help="What becomes of a guest that asks for a reset.",
)
@click.option("--balloon", is_flag=True, help="A balloon, for 'splitvisor balloon' to move.")
@click.option(
    "--outage",
    default="hold",
    show_default=True,
    metavar="POLICY",
    help="While nobody serves a device of it 'hold' lets the guest wait, 'pause' stops it, 'error' "
    "fails its requests; with 'after 2s' behind it only then, else at once.",
)
@click.option(
    "--no-standby", is_flag=True, help="Start service OSes only when the one before died."
)
@click.option(
    "--no-watchdog", is_flag=True, help="Do not replace a service OS that lives and does nothing."
)
@click.option("--failpoints", is_flag=True, help="Let 'splitvisor fault' act inside service OSes.")
@click.option("-v", "--verbose", is_flag=True, help="Tell on standard error what happens.")
@click.pass_obj
def run(
    root: Path,
    image: Path,
    arguments: tuple[str, ...],
    disks: tuple[str, ...],
    console: str,
    serial: str,
    entropy: str,
    nets: tuple[str, ...],
    folders: tuple[str, ...],
    clock: str | None,
    virtio_clock: str | None,
    others: tuple[str, ...],
    memory: str,
    vcpus: int,
    cpu: str,
    name: str | None,
    inline: bool,
    on_reset: str,
    balloon: bool,
    outage: str,
    no_standby: bool,
    no_watchdog: bool,
    failpoints: bool,
    verbose: bool,
) -> int:
    """Boot IMAGE, a PVH ELF file, with its console on this terminal, and exit with its status.

    Standard output carries what the guest prints and nothing else. Keys go to the guest as they
    are typed; Ctrl-C ends it. Words behind -- become the guest's command line.
    """
    policy = parse_outage(outage)
    devices = (
        dataclasses.replace(device, inline_payload=inline, outage=policy)
        for device in _devices(
            console, serial, entropy, clock, virtio_clock, disks, nets, folders, others
        )
    )
    guest = Guest(
        name=name_of(image) if name is None else name,
        image=image,
        arguments=" ".join(arguments),
        memory=parse_size(memory),
        vcpus=vcpus,
        cpu=CpuChoice(cpu),
        devices=tuple(devices),
        on_reset=OnReset(on_reset),
        balloon=balloon,
    )
    service = ServiceSettings(not no_standby, not no_watchdog, failpoints)
    machine = Machine(guest.name, (guest,), settings={DEFAULT_SERVICE: service})
    ended: list[core.GuestStatus] = []

    async def until_ended(supervisor: Supervisor) -> None:
        ended.append(await supervisor.guests.wait(guest.name))

    def report(event: events.SupervisorEvent) -> None:
        told = verbose and not is_stall(event)
        if (told or matters(event)) and (line := describe(event)):
            note(line)
        elif isinstance(event, events.CoreStarted) and guest.cpu is CpuChoice.AUTO:
            problem = event.description.kvm_problem
            if problem:
                note(f"no KVM here ({problem}): guest {guest.name} runs on the emulated CPU")

    reason = launch(machine, root, report, until_ended, rename=name is None)
    if reason:
        return exit_status.of_end(reason)
    if fault := exit_status.fault_text(ended[0]):
        print(fault, file=sys.stderr)
    return exit_status.of_guest(ended[0])


def name_of(image: Path) -> str:
    """A guest's name from its image's: lower case, what is not allowed in names replaced."""
    plain = re.sub(r"[^a-z0-9_.-]+", "-", image.stem.lower()).lstrip("_.-")
    return plain[: NAME_LIMIT - 3] or "guest"  # room for the number of a second machine


def _devices(
    console: str,
    serial: str,
    entropy: str,
    clock: str | None,
    virtio_clock: str | None,
    disks: tuple[str, ...],
    nets: tuple[str, ...],
    folders: tuple[str, ...],
    others: tuple[str, ...],
) -> Iterator[Device]:
    for device in standard_devices(console, serial, disks):
        yield dataclasses.replace(device, spec=entropy) if device.name == "rng0" else device
    if clock is not None:
        yield Device(CLOCK, Model.RTC, clock)
    if virtio_clock is not None:
        yield Device(VIRTIO_CLOCK, Model.CLOCK, virtio_clock)
    for i, spec in enumerate(nets):
        yield Device(f"net{i}", Model.NET, spec)
    for i, spec in enumerate(folders):
        yield Device(f"share{i}", Model.FOLDER, tagged(f"share{i}", spec))
    for i, spec in enumerate(others):
        yield Device(f"device{i}", Model.VIRTIO, spec)
