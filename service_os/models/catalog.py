"""The device models there are, the kind of driver each needs, and how to make it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drivers.options import nearest
from service_os.models.base import Evented, Framed, Immediate
from service_os.models.block import BlockModel
from service_os.models.console import ConsoleModel
from service_os.models.entropy import EntropyModel
from service_os.models.net import NetModel
from service_os.models.ninep import NinepModel
from service_os.models.raw import RawModel
from service_os.models.rtc import RtcModel
from service_os.models.uart import UartModel


@dataclass(frozen=True, slots=True)
class Model:
    """`kind` is that of its drivers; one of the three constructors is there.

    `immediate` takes the driver and raises DriverError if that makes no sense as a device.
    `evented` takes the state that survived and the driver; it raises ValueError for a state it
    cannot read. `rank` decides between consoles on one source.
    """

    kind: str
    immediate: Callable[[Any], Immediate] | None = None
    evented: Callable[[bytes, Any], Evented] | None = None
    rank: int = 0
    framed: Callable[[Any], Framed] | None = None


MODELS = {
    "block": Model("block", immediate=BlockModel),
    "entropy": Model("entropy", immediate=EntropyModel),
    "console": Model(
        "console", evented=lambda state, sink: ConsoleModel(state, sink.origin), rank=1
    ),
    "uart": Model("console", evented=lambda state, sink: UartModel(state, sink.origin)),
    "rtc": Model("clock", evented=RtcModel),
    "virtio": Model("virtio", immediate=RawModel),
    "net": Model("net", framed=NetModel),
    "folder": Model("folder", evented=NinepModel),
}


def unknown_model(name: str) -> str:
    """The error message for a model that does not exist."""
    return f"no device model {name!r}{nearest(name, MODELS)}"
