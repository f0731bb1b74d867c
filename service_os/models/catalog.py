"""The device models there are, the kind of driver each needs, and how to make it.

Those that few guests have are imported when the first of their kind is opened: a service OS is
started after each death of another, and guests wait for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from drivers.installed import load
from drivers.interface import DriverError
from drivers.options import nearest
from service_os.models.attributes import whole, wrong
from service_os.models.base import Evented, Framed, Immediate
from service_os.models.block import BlockModel
from service_os.models.console import ConsoleModel
from service_os.models.entropy import EntropyModel
from service_os.models.uart import UartModel

LAST = (1 << 63) - 1  # of the positions of a console's output


@dataclass(frozen=True, slots=True)
class Model:
    """`kind` is that of its drivers; one of the three constructors is there.

    `immediate` takes the driver and raises DriverError if that makes no sense as a device. One that
    `follows` takes also what a guest has found before, and raises DriverError if it could not go on
    finding it; what the others have shown is for the core to compare.
    `evented` takes the state that survived, the driver and its spec; it raises ValueError for a
    state it cannot read, and DriverError as the others. `rank` decides between consoles on one
    source.
    """

    kind: str
    immediate: Callable[..., Immediate] | None = None
    evented: Callable[[bytes, Any, str], Evented] | None = None
    rank: int = 0
    framed: Callable[..., Framed] | None = None
    follows: bool = False


def later(model: str) -> Callable[..., Any]:
    """What makes the model that `module:class` names."""

    def make(*arguments: Any) -> Any:
        return load(model)(*arguments)

    return make


def with_output(model: Callable[[bytes, int, bytes], Evented]) -> Callable[..., Evented]:
    """What makes a model whose output goes to a driver's positions."""

    def make(state: bytes, driver: Any, spec: str) -> Evented:
        if problem := wrong(driver, "origin", whole(0, LAST), "be a number of bytes, not negative"):
            raise DriverError(problem)
        return model(state, driver.origin, blake2b(spec.encode(), digest_size=8).digest())

    return make


def without_output(model: str) -> Callable[[bytes, Any, str], Evented]:
    """What makes the model that `module:class` names, to which the spec is nothing."""
    return lambda state, driver, spec: load(model)(state, driver)


MODELS = {
    "block": Model("block", immediate=BlockModel, follows=True),
    "entropy": Model("entropy", immediate=EntropyModel),
    "console": Model("console", evented=with_output(ConsoleModel), rank=1),
    "uart": Model("console", evented=with_output(UartModel)),
    "rtc": Model("clock", evented=without_output("service_os.models.rtc:RtcModel")),
    "clock": Model("clock", immediate=later("service_os.models.clock:ClockModel")),
    "virtio": Model("virtio", immediate=later("service_os.models.raw:RawModel")),
    "net": Model("net", framed=later("service_os.models.net:NetModel"), follows=True),
    "folder": Model("folder", evented=without_output("service_os.models.ninep:NinepModel")),
}


def unknown_model(name: str) -> str:
    """The error message for a model that does not exist."""
    return f"no device model {name!r}{nearest(name, MODELS)}"
