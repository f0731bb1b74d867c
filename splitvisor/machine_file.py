"""Machine files: a machine as TOML.

    [machine]                             # may be left out
    name = "lab"                          # default: the file's name without its ending
    services = ["service", "storage"]     # service OSes; the first serves what names none
    memory_budget = "8G"                  # for all guests together; default: what is available

    [scheduler]                           # may be left out
    policy = "credit"                     # round_robin, credit, deadline, or one you installed
    slice = "10ms"                        # a vCPU's turn while others wait
    pcpus = [0, 1]                        # host CPUs, a pCPU on each; or how many

    [services.storage]                    # may be left out; without a list, the tables are the list
    standby = true                        # another incarnation waits, ready to take over
    watchdog = true                       # one that lives and gets nothing done is replaced
    failpoints = false                    # `splitvisor fault` can act inside of it

    [guests.web]
    image = "blockcheck.elf"              # the one key that a guest must have
    arguments = "depth=8"
    memory = "64M"
    vcpus = 1
    cpu = "auto"                          # auto, kvm, emulated
    on_reset = "restart"                  # restart, stop
    rom = "table.bin"                     # mapped read-only at 0xc0000000
    balloon = true                        # default: false; `splitvisor balloon` moves it
    irqchip = "core"                      # core, kernel
    schedule = { weight = 256, cap = 0, budget = "2ms", period = "10ms", affinity = [0] }
    console = "log:path=web.log"          # default: terminal; false: none
    com1 = false                          # default: terminal
    entropy = "system"                    # default: system
    clock = "system"                      # a PC's real-time clock; default: false
    virtio_clock = "system"               # a clock that is read by virtio; default: false
    disks = ["file:path=disk.img"]        # default: none
    nets = ["switch:name=lan"]            # network cards; default: none
    folders = ["directory:path=share"]    # mounted by the tags share0, share1, ... or by tag=...;
                                          # default: none
    devices = ["calculator"]              # virtio devices of other kinds, by drivers that you
                                          # installed; default: none
    outage = "hold"                       # or "pause after 500ms", "error after 2s": when a device
                                          # was not served for so long (0s if left out)

A device is a spec, or a table: `driver`, the driver's options, and of splitvisor's own `name`,
`service` (which service OS), `outage` (instead of its guest's) and `inline` (payload travels in
messages, not in a shared window):

    [[guests.web.disks]]
    driver = "file"
    path = "disk.img"
    readonly = true
    service = "storage"

Where a driver stands on others, an option is itself a table, a list of tables, or their spec:

    [[guests.web.disks]]
    driver = "throttle"
    iops = 500
    child = { driver = "overlay", path = "a.top", base = "file:path=a.img,readonly" }

Relative paths, `image`, `rom` and every option that is a path, start at the machine file, so a
directory with a machine in it can be moved and used from anywhere. What can be wrong without
opening anything is found here, and every error names the key that holds it.
"""

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

from drivers import registry, spec
from drivers.interface import DriverError
from drivers.options import nearest, written
from drivers.rooting import rooted
from policies.parameters import VcpuParameters
from splitvisor import machine as m
from splitvisor.errors import UserError
from splitvisor.image.file import read_file
from splitvisor.outages import parse_outage
from splitvisor.units import parse_duration, parse_size

T = TypeVar("T")

_MACHINE_KEYS = ("name", "services", "memory_budget")
_SERVICE_KEYS = ("standby", "watchdog", "failpoints")
_SCHEDULER_KEYS = ("policy", "slice", "pcpus")
_SCHEDULE_KEYS = ("weight", "cap", "budget", "period", "affinity")
_GUEST_KEYS = (
    *("image", "arguments", "memory", "vcpus", "cpu", "on_reset", "rom", "irqchip", "schedule"),
    *("balloon", "console", "com1", "entropy", "clock", "virtio_clock"),
    *("disks", "nets", "folders", "devices", "outage"),
)
# Key, name and model of the devices that a guest has once at most, and the spec unless it is told.
_STANDARD = (
    ("console", "hvc0", m.Model.CONSOLE, "terminal"),
    ("com1", "com1", m.Model.UART, "terminal"),
    ("entropy", "rng0", m.Model.ENTROPY, "system"),
    ("clock", m.CLOCK, m.Model.RTC, False),
    ("virtio_clock", m.VIRTIO_CLOCK, m.Model.CLOCK, False),
)
# Key, first part of the names, and model of the devices of which there may be several.
_LISTED = (
    ("disks", "disk", m.Model.BLOCK),
    ("nets", "net", m.Model.NET),
    ("folders", "share", m.Model.FOLDER),
    ("devices", "device", m.Model.VIRTIO),
)
_TYPES = {str: "a string", bool: "true or false", int: "a whole number", list: "a list"}


def read(path: Path) -> m.Machine:
    """The machine in the file at `path`; UserError if there is none."""
    try:
        return parse(path, read_file("machine file", path).decode())
    except UnicodeDecodeError as error:
        raise UserError(f"machine file {path} is not text in UTF-8: {error.reason}") from None


def parse(path: Path, text: str) -> m.Machine:
    """The machine in `text`; `path` is for errors, the default name, and relative paths."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"machine file {path} is not TOML: {error}") from None
    return interpret(path, document)


def interpret(path: Path, document: Mapping[str, Any]) -> m.Machine:
    """The machine that a TOML document, already taken apart, describes."""
    return _Reader(path).machine(document)


class _LocatedError(UserError):
    """Names its key already."""


class _Reader:
    """Turns tables into a machine; `key` is always the full path of what it looks at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.parent.absolute()
        self.services: tuple[str, ...] = (m.DEFAULT_SERVICE,)

    def machine(self, document: Mapping[str, Any]) -> m.Machine:
        self.known_keys("", document, ("machine", "scheduler", "services", "guests"))
        settings = self.table("machine", document.get("machine", {}))
        self.known_keys("machine", settings, _MACHINE_KEYS)
        name = self.typed("machine.name", settings.get("name", self.path.stem), str)
        with self.at("machine.name"):
            m.check_name("machine", name)
        services = self.service_tables(self.table("services", document.get("services", {})))
        self.services = self.service_names(settings, services)
        budget = 0
        if "memory_budget" in settings:
            budget = self.budget("machine.memory_budget", settings["memory_budget"])
        scheduling = self.scheduling(self.table("scheduler", document.get("scheduler", {})))
        guests = self.table("guests", document.get("guests", {}))
        if not guests:
            self.fail("guests", "there is no guest: add a table like [guests.web]")
        built = tuple(self.guest(f"guests.{key}", key, value) for key, value in guests.items())
        for guest in built:
            with self.at(f"guests.{guest.name}.schedule"):
                m.check_schedule(f"guest {guest.name}", guest.schedule, len(scheduling.pcpus))
        return m.Machine(name, built, self.services, scheduling, budget, services)

    def scheduling(self, table: Mapping[str, Any]) -> m.Scheduling:
        self.known_keys("scheduler", table, _SCHEDULER_KEYS)
        settings: dict[str, Any] = {}
        if "policy" in table:
            settings["policy"] = self.typed("scheduler.policy", table["policy"], str)
        if "slice" in table:
            settings["slice_ns"] = self.duration("scheduler.slice", table["slice"])
        if "pcpus" in table:
            settings["pcpus"] = self.pcpus("scheduler.pcpus", table["pcpus"])
        with self.at("scheduler"):
            return m.Scheduling(**settings)

    def pcpus(self, key: str, value: Any) -> tuple[int, ...]:
        """Host CPUs as listed; for a number, that many, each host CPU in turn."""
        if isinstance(value, list):
            return self.numbers(key, value)
        if type(value) is not int:
            self.fail(key, "must be a whole number or a list")
        if not 1 <= value <= m.MAX_PCPUS:
            self.fail(key, f"{value}: give 1 to {m.MAX_PCPUS}")
        host = m.Scheduling().pcpus
        return tuple(host[i % len(host)] for i in range(value))

    def schedule(self, key: str, value: Any) -> VcpuParameters:
        table = self.table(key, value)
        self.known_keys(key, table, _SCHEDULE_KEYS)
        settings: dict[str, Any] = {}
        for name in ("weight", "cap"):
            if name in table:
                settings[name] = self.typed(f"{key}.{name}", table[name], int)
        for name in ("budget", "period"):
            if name in table:
                settings[f"{name}_ns"] = self.duration(f"{key}.{name}", table[name])
        if "affinity" in table:
            settings["affinity"] = frozenset(self.numbers(f"{key}.affinity", table["affinity"]))
        return VcpuParameters(**settings)

    def numbers(self, key: str, value: Any) -> tuple[int, ...]:
        return tuple(self.typed(key, number, int) for number in self.typed(key, value, list))

    def duration(self, key: str, value: Any) -> int:
        with self.at(key):
            return parse_duration(self.typed(key, value, str))

    def service_tables(self, tables: Mapping[str, Any]) -> dict[str, m.ServiceSettings]:
        return {name: self.service(f"services.{name}", tables[name]) for name in tables}

    def service(self, key: str, value: Any) -> m.ServiceSettings:
        table = self.table(key, value)
        self.known_keys(key, table, _SERVICE_KEYS)
        return m.ServiceSettings(**{k: self.typed(f"{key}.{k}", table[k], bool) for k in table})

    def service_names(self, settings: Mapping[str, Any], tables: Iterable[str]) -> tuple[str, ...]:
        """As listed; without a list those that have a table; without any the usual one."""
        if "services" not in settings:
            for name in tables:
                with self.at(f"services.{name}"):
                    m.check_name("service OS", name)
            return tuple(tables) or (m.DEFAULT_SERVICE,)
        key = "machine.services"
        names = self.typed(key, settings["services"], list)
        with self.at(key):
            for name in names:
                m.check_name("service OS", self.typed(key, name, str))
            m.refuse_duplicates("service OS", names)
        if not names:
            self.fail(key, "name at least one service OS, or leave the key out")
        for name in tables:
            if name not in names:
                self.fail(f"services.{name}", f"not among machine.services{nearest(name, names)}")
        return tuple(names)

    def guest(self, key: str, name: str, value: Any) -> m.Guest:
        table = self.table(key, value)
        self.known_keys(key, table, _GUEST_KEYS)
        if "image" not in table:
            self.fail(f"{key}.image", "name the guest's image file")
        with self.at(key):
            m.check_name("guest", name)
        settings: dict[str, Any] = {}
        readers: dict[str, Callable[[str, Any], Any]] = {
            "image": self.file,
            "rom": self.file,
            "arguments": lambda key, value: self.typed(key, value, str),
            "memory": self.memory,
            "vcpus": self.vcpus,
            "cpu": lambda key, value: self.choice(key, value, m.CpuChoice),
            "on_reset": lambda key, value: self.choice(key, value, m.OnReset),
            "balloon": lambda key, value: self.typed(key, value, bool),
            "irqchip": lambda key, value: self.choice(key, value, m.Irqchip),
            "schedule": self.schedule,
        }
        for setting, reader in readers.items():
            if setting in table:
                settings[setting] = reader(f"{key}.{setting}", table[setting])
        devices = tuple(self.devices(key, table))
        with self.at(key):
            return m.Guest(name, devices=devices, **settings)

    def devices(self, key: str, table: Mapping[str, Any]) -> Iterator[m.Device]:
        usual_outage = m.OutagePolicy()
        if "outage" in table:
            usual_outage = self.outage(f"{key}.outage", table["outage"])
        for setting, name, model, usual in _STANDARD:
            value = table.get(setting, usual)
            if value is not False:
                yield self.device(f"{key}.{setting}", name, model, value, usual_outage)
        for setting, name, model in _LISTED:
            values = self.typed(f"{key}.{setting}", table.get(setting, []), list)
            for i, value in enumerate(values):
                where = f"{key}.{setting}[{i}]"
                yield self.device(where, f"{name}{i}", model, value, usual_outage)

    def device(
        self, key: str, name: str, model: m.Model, value: Any, outage: m.OutagePolicy
    ) -> m.Device:
        service, inline = self.services[0], False
        if isinstance(value, str):
            with self.at(key):
                wanted = spec.parse(value)
        else:
            options = dict(self.table(key, value, "a spec such as 'file:path=disk.img' or a table"))
            name = self.typed(f"{key}.name", options.pop("name", name), str)
            service = self.typed(f"{key}.service", options.pop("service", service), str)
            inline = self.typed(f"{key}.inline", options.pop("inline", inline), bool)
            if "outage" in options:
                outage = self.outage(f"{key}.outage", options.pop("outage"))
            wanted = self.wanted(key, model.driver_kind, options)
        if service not in self.services:
            known = nearest(service, self.services)
            self.fail(f"{key}.service", f"no service OS {service!r}{known}")
        with self.at(key):
            text = rooted(model.driver_kind, str(wanted), self.root)
            if model is m.Model.FOLDER:
                text = m.tagged(name, text)
            registry.check(model.driver_kind, text)
            return m.Device(name, model, text, service, inline, outage)

    def outage(self, key: str, value: Any) -> m.OutagePolicy:
        with self.at(key):
            return parse_outage(self.typed(key, value, str))

    def wanted(self, key: str, kind: str, table: Mapping[str, Any]) -> spec.Spec:
        """A driver of this kind with options, each of a type that it may have."""
        values = dict(table)
        if "driver" not in values:
            self.fail(f"{key}.driver", f"name the driver: {', '.join(registry.names(kind))}")
        driver = self.typed(f"{key}.driver", values.pop("driver"), str)
        with self.at(key):
            types = get_type_hints(registry.find(kind, driver).Options)
        for name in types.keys() & values.keys():
            if problem := written(types[name], values[name]):
                self.fail(f"{key}.{name}", f"give {problem}")
        texts = {name: self.option(f"{key}.{name}", kind, v) for name, v in values.items()}
        return spec.Spec(driver, texts)

    def option(self, key: str, kind: str, value: Any) -> str | None:
        """A driver's option as a spec has it: true is the name alone."""
        if isinstance(value, bool):
            return None if value else "off"
        if isinstance(value, str | int | float):
            return str(value)
        if isinstance(value, Mapping):
            return str(self.wanted(key, kind, value))
        if isinstance(value, list) and value:
            each = [self.option(f"{key}[{i}]", kind, one) for i, one in enumerate(value)]
            return ",".join(f"({one})" for one in each)
        return self.fail(key, "give a string, a number, true or false, a table, or a list of these")

    def file(self, key: str, value: Any) -> Path:
        return self.root / self.typed(key, value, str)

    def memory(self, key: str, value: Any) -> int:
        size = self.size(key, value)
        with self.at(key):
            m.check_memory(size)
        return size

    def budget(self, key: str, value: Any) -> int:
        size = self.size(key, value)
        with self.at(key):
            m.check_budget(size)
        return size

    def size(self, key: str, value: Any) -> int:
        with self.at(key):
            return value if type(value) is int else parse_size(self.typed(key, value, str))

    def vcpus(self, key: str, value: Any) -> int:
        count = self.typed(key, value, int)
        with self.at(key):
            m.check_vcpus(count)
        return count

    def choice(self, key: str, value: Any, kind: type[Any]) -> Any:
        text = self.typed(key, value, str)
        choices = [choice.value for choice in kind]
        if text not in choices:
            self.fail(key, f"{text!r} is not possible{nearest(text, choices)}")
        return kind(text)

    def table(self, key: str, value: Any, wanted: str = "a table") -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.fail(key, f"must be {wanted}")
        return value

    def typed(self, key: str, value: Any, kind: type[T]) -> T:
        if type(value) is not kind:
            self.fail(key, f"must be {_TYPES[kind]}")
        return value

    def known_keys(self, key: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                where = f"{key}.{name}" if key else name
                self.fail(where, f"no such key{nearest(name, known)}")

    @contextmanager
    def at(self, key: str) -> Iterator[None]:
        """Errors from within are about `key`."""
        try:
            yield
        except _LocatedError:
            raise
        except (UserError, DriverError) as error:
            self.fail(key, str(error))

    def fail(self, key: str, problem: str) -> NoReturn:
        raise _LocatedError(f"machine file {self.path}: {key}: {problem}") from None
