"""What a driver is: one small interface for each kind of device, and errors that guests can see.

A driver knows nothing of gRPC, virtio or guests. It is made once per device and incarnation with
its typed options (`Options`, a dataclass) and used from one thread at a time, unless it says
otherwise. It keeps no write-back cache: what `write` returned from must survive SIGKILL.

A class becomes a driver by an entry point in the group `splitvisor.drivers`, named
`<kind>.<name>`, for example `block.file = "drivers.block_file:FileBlock"`.

A field of `Options` whose type is `Keep` is filled in by the service OS instead of the user: it is
the place for what must outlive this process, but not the machine.

Opening is not serving. A standby opens its drivers long before it needs them, while another
incarnation serves the same devices. So the constructor changes nothing and reads no input, and what
it learnt of the world may be stale when the first request comes: see Beginning. If it never comes,
`close` follows upon the constructor, and must not change anything either.

What a driver may have besides, each explained where it is defined: `begin` (Beginning), `patience`
(Patient), `claims` (Claiming), `progress` (Reporting); a disk also `content` (Identified) and
`abilities` (Discarding, Zeroing), `block_size` (Blocky), `forgets` (Forgetful); a source of entropy
`portion` (Portioned); a device of its own kind `failure` (Failing).

What a driver of shared folders is stands in drivers/folders.py.

Methods may be `async def`, all but the constructor and `start`; what they await is trio's. They run
on a thread that all such drivers share, and are waited for like others. When nobody waits for the
device any more they are cancelled, but for `close`, which has two seconds.

A driver may stand on others: a field of `Options` whose type is `Child`, or a tuple of them, is
given as `child=(file:path=a.img)` and opened by the driver itself. See drivers/filter.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from pathlib import Path
from typing import Any, ClassVar, Protocol


class DriverError(Exception):
    """Opening or configuring failed: one line that names the thing and the cure."""


class SpecError(DriverError):
    """The words are wrong (syntax, driver, option, value), whatever the host looks like."""


class MediumError(Exception):
    """The medium failed this request; the guest sees an I/O error."""


class UnsupportedError(Exception):
    """The driver does not do this; the guest sees `unsupported`."""


@dataclass(frozen=True, slots=True)
class Keep:
    """A path that no other device uses, with a suffix that begins with a colon or without one, the
    same for every incarnation, gone with the machine. All drivers of a stack have the same; one
    that may stand there twice needs an option for a suffix.
    """

    path: Path


@dataclass(frozen=True, slots=True)
class Claim:
    """A file of the host that a device uses; `exclusive` if it writes there. With `remote` it is no
    file, and there is no path, but what a server has; the same words mean the same thing.
    """

    path: Path
    exclusive: bool
    remote: str = ""


@dataclass(frozen=True, slots=True)
class Child:
    """A driver of the same kind that another one stands on; its words are right, nothing is open.

    `open` gives the open driver or raises DriverError; `claims` and `content` are as its own.
    """

    spec: str
    open: Callable[[], Any]
    claims: Callable[[], Sequence[Claim]]
    content: Callable[[], str]


class Claiming(Protocol):
    """What a driver may have besides: the files of the host and what else it will use, so that two
    devices are not started on one. A driver without it claims none.
    """

    @staticmethod
    def claims(options: Any) -> Sequence[Claim]:
        """What a device with these options uses, known without opening anything."""


class Beginning(Protocol):
    """What a driver may have besides, if anything outside can have changed since it was opened."""

    def begin(self) -> None:
        """From now on this incarnation serves, and no other: look again at what may have changed
        (a size, where a file ends, an index of what is in it). Called once, before anything else
        but `close`; quick, for the guest waits. DriverError if it cannot serve.
        """


class Identified(Protocol):
    """What a disk's driver may have besides: a word for the content that it serves. A driver
    without it serves what no other does, so that it cannot take over from another unasked.
    """

    @staticmethod
    def content(options: Any) -> str:
        """Two drivers with the same word find the same bytes at the same offsets, now and after
        each write of either. Known without opening anything; empty if there is no telling.
        """


class Patient(Protocol):
    """What a driver may have besides: how long one call may take before it counts as stuck."""

    patience: float | None  # seconds, or None: however long it takes. Without it: PATIENCE


PATIENCE = 0.1  # seconds; waiting for a disk does not count, the launcher sees that


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is that a driver does besides, in bytes or whatever it counts."""

    done: int
    total: int
    complete: bool = False  # nothing is left to do, and what was done can be relied on
    problem: str = ""  # why it will never be complete, in one line


class Reporting(Protocol):
    """What a driver may have besides, if it does something of its own that takes long."""

    def progress(self) -> Progress:
        """How far it is. Called after `begin`, on any thread; it comes back at once."""


class Driver(Protocol):
    """What all kinds share. `Options` is a dataclass; the constructor takes an instance of it."""

    Options: ClassVar[type[Any]]

    def close(self) -> None:
        """Give everything back; never called twice. What was written survives as before it: a disk
        is flushed first where its guest or machine ends, and not where another driver takes over.
        """


class Ability(Flag):
    """What a disk can do besides; a driver that says nothing can do nothing of it."""

    NONE = 0
    DISCARD = auto()  # it is Discarding
    WRITE_ZEROES = auto()  # it is Zeroing


class Discarding(Protocol):
    """What a disk's driver may have besides, and then names among its `abilities`."""

    def discard(self, offset: int, length: int) -> None:
        """Nobody needs these bytes any more: space may be given back, and what is read there from
        now on is what was there, or zeros.
        """


class Zeroing(Protocol):
    """What a disk's driver may have besides, and then names among its `abilities`."""

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """As if zeros were written; with `unmap` space may be given back."""


class Blocky(Protocol):
    """What a disk's driver may have besides: the smallest write that costs no read, in bytes."""

    block_size: int  # a power of two from 512 to 65536; without it 512


class Forgetful(Protocol):
    """What a disk's driver may have besides, if it is there for measuring and stores nothing."""

    forgets: bool  # if so, nothing is demanded of what is read


class BlockDriver(Driver, Protocol):
    """A disk: bytes at offsets, in multiples of 512. Bounds are checked before it is asked."""

    size: int  # bytes, a multiple of 512, fixed while open
    readonly: bool
    identity: str  # what the guest reads as serial number, at most 20 ASCII characters

    def read(self, offset: int, into: memoryview) -> None:
        """Fill `into` from `offset`; MediumError if it cannot be filled."""

    def write(self, offset: int, data: memoryview) -> None:
        """Store all of `data`; on return it survives the death of this process."""

    def flush(self) -> None:
        """On return all completed writes survive the loss of power."""


class ConsoleDriver(Driver, Protocol):
    """A sink and source of bytes. When `close` returns, all input that was taken from its source
    has been delivered, and no more will be taken: the next incarnation finds it there.
    """

    positional: bool  # write() puts bytes at `position`, so writing them again changes nothing
    origin: int  # the position of the first byte of a device that has put out nothing here yet

    def write(self, data: bytes, position: int) -> None:
        """Put out `data`; `position` is `origin` plus all bytes before. Blocks while it must."""

    def start(self, deliver: Callable[[bytes], None], rank: int) -> None:
        """Begin to read; call `deliver` from a thread of its own for what arrives, and once with
        no bytes when the input has ended. It blocks while the guest takes nothing. Of several
        consoles that share one source, the one of highest `rank` gets the input.
        """


class EntropyDriver(Driver, Protocol):
    """A source of random bytes."""

    def fill(self, into: memoryview) -> None:
        """Fill `into` with bytes never given out before."""


class Portioned(Protocol):
    """What a source of entropy may have besides: the most that it gives in one call, in bytes. The
    guest is given no more at once and asks again; without it a call may ask for 64 KiB.
    """

    portion: int


class ClockDriver(Driver, Protocol):
    """What time it is; the guest's own corrections are kept elsewhere."""

    def now(self) -> float:
        """Seconds since 1970, UTC without leap seconds. The guest's processor waits for it."""


@dataclass(frozen=True, slots=True)
class VirtioQueue:
    """A virtqueue: how many descriptors it has at most, a power of two up to 1024, and how many
    bytes at the start of each request, up to 256, are kept as the guest first showed them, also
    when it has changed them until a request is executed again.
    """

    size: int = 128
    header: int = 0


class VirtioDevice(Driver, Protocol):
    """A device of a kind that nobody here knows: what its guest finds, and what it does. It speaks
    when it is spoken to: each request is answered at once, and there is no input without one.

    What it is must be known after `begin` and be the same for every incarnation. What the guest
    writes into the configuration space is lost. What must outlive this process belongs into `Keep`.
    """

    device_id: int  # virtio 1.2, section 5; not 0
    features: int  # of bits 0 to 23 and 50 to 63; the others belong to the transport
    config: bytes  # the configuration space, at most 3840 bytes
    queues: tuple[VirtioQueue, ...]  # 1 to 16, with 1024 descriptors together

    def handle(self, queue: int, readable: memoryview, writable: memoryview) -> int:
        """Execute a request: the guest wrote `readable`, header included, and gets as many bytes
        of `writable`, zeros at first, as are returned. Both are only lent. MediumError or
        UnsupportedError fail it: it then gets nothing, or what `failure` says.
        """


class Failing(Protocol):
    """What a `VirtioDevice` may have besides, if its requests end with a status."""

    failure: bytes  # what then stands at the very end of what is writable, behind zeros


class NetDriver(Driver, Protocol):
    """A port of an Ethernet. Frames are whole but for the checksum at their end, 14 to 65550 bytes.
    A network may lose frames, and then does: nothing here waits for anybody.
    """

    # The six bytes that the guest finds as its address, or None: it makes one up. Known when it is
    # opened, and the same for every incarnation.
    mac: bytes | None
    # Of what stands behind the 14 bytes of header the most that the guest should send. Before
    # `begin` it may be 0, which says that it depends on what is found then.
    mtu: int
    link: bool  # whether the cable is in; known after `begin`

    def send(self, frames: Sequence[memoryview]) -> None:
        """Put them out in this order; the bytes are only lent. MediumError if they were lost for a
        reason that an operator should hear of.
        """

    def start(
        self, deliver: Callable[[Sequence[bytes]], None], changed: Callable[[], None]
    ) -> None:
        """Hand over what arrives, in batches, and tell that `link` has changed. Both may be called
        on any thread, each on one at a time, and come back at once.
        """
