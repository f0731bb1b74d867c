"""Scenario files: what to simulate, as TOML.

    policy = "credit"          # any that is installed
    pcpus = 1
    slice = "10ms"             # a vCPU's turn while others wait
    duration = "1s"
    kick_cost = "0s"           # from being told to give way to having done so
    switch_cost = "0s"         # from being put on a pCPU to doing work there

    [vcpus.web]
    weight = 256               # as in machine files: weight, cap, budget, period, affinity
    cap = 50                   # percent of one pCPU
    budget = "2ms"
    period = "10ms"
    affinity = [0]
    run = "1ms"                # works that long and sleeps; without `run` it spins
    sleep = "9ms"              # that long after each work, or
    every = "10ms"             # until the next multiple of this
    start = "0s"
    stop = "1s"                # default: it stays
    count = 8                  # so many alike: web1 to web8

    [[changes]]
    at = "500ms"
    vcpu = "web"               # or one of many, web3
    weight = 512               # what is left out stays as it is

    [[changes]]
    at = "750ms"
    policy = "deadline"
    slice = "5ms"              # default: stays

Every error names the file, the key that holds it, and the cure.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from drivers.options import nearest
from policies.parameters import InvalidError, VcpuParameters, check
from splitvisor.errors import UserError
from splitvisor.image.file import read_file
from splitvisor.machine import check_slice
from splitvisor.simulate import registry
from splitvisor.simulate.scenario import (
    MAX_PCPUS,
    MAX_VCPUS,
    PolicyChange,
    Scenario,
    Vcpu,
    VcpuChange,
)
from splitvisor.units import parse_duration

T = TypeVar("T")

_PARAMETERS = ("weight", "cap", "budget", "period", "affinity")
_BEHAVIOUR = ("run", "sleep", "every", "start", "stop")
_TOP = (*("policy", "pcpus", "slice", "duration", "kick_cost", "switch_cost"), "vcpus", "changes")
_TYPES = {str: "a string", int: "a whole number", list: "a list", dict: "a table"}


def read(path: Path, policy: str | None = None) -> Scenario:
    """The scenario in the file, with another policy if one is given; UserError in one line."""
    try:
        text = read_file("scenario", path).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"scenario {path} is not text in UTF-8: {error.reason}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"scenario {path} is not TOML: {error}") from None
    if policy is not None:
        registry.find(policy)
        document["policy"] = policy
    return _Reader(path).scenario(document)


class _Reader:
    """Turns tables into a scenario; `key` is always the full path of what it looks at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pcpus = 1
        self.slice_ns = 0
        self.groups: dict[str, list[Vcpu]] = {}

    def scenario(self, document: Mapping[str, Any]) -> Scenario:
        self.known_keys("", document, _TOP)
        for needed, cure in (("policy", registry.names()), ("duration", ["1s"])):
            if needed not in document:
                self.fail(needed, f"is missing: add {needed} = {' or '.join(map(repr, cure))}")
        self.pcpus = self.whole("pcpus", document.get("pcpus", 1), MAX_PCPUS)
        self.slice_ns = self.slice("slice", document.get("slice", "10ms"))
        vcpus = self.typed("vcpus", document.get("vcpus", {}), dict)
        if not vcpus:
            self.fail("vcpus", "there is no vCPU: add a table like [vcpus.spinner]")
        for name, table in vcpus.items():
            self.groups[name] = list(self.group(f"vcpus.{name}", name, table))
        everybody = [vcpu for group in self.groups.values() for vcpu in group]
        self.check_names(everybody)
        return Scenario(
            policy=self.policy("policy", document["policy"]),
            vcpus=tuple(everybody),
            duration=self.duration("duration", document["duration"], 1),
            pcpus=self.pcpus,
            slice_ns=self.slice_ns,
            kick_cost=self.duration("kick_cost", document.get("kick_cost", "0s")),
            switch_cost=self.duration("switch_cost", document.get("switch_cost", "0s")),
            changes=tuple(self.changes(document.get("changes", []), everybody)),
            origin=f"scenario {self.path}: ",
        )

    def group(self, key: str, name: str, value: Any) -> Iterator[Vcpu]:
        table = self.typed(key, value, dict)
        self.known_keys(key, table, (*_PARAMETERS, *_BEHAVIOUR, "count"))
        count = self.whole(f"{key}.count", table.get("count", 1), MAX_VCPUS)
        parameters = self.parameters(key, table, VcpuParameters())
        times = {
            word: self.duration(f"{key}.{word}", table[word], int(word in ("run", "every")))
            for word in _BEHAVIOUR
            if word in table
        }
        if "run" in times and ("sleep" in times) == ("every" in times):
            self.fail(f"{key}.run", "say how it goes on: give either sleep or every too")
        if "run" not in times and ("sleep" in times or "every" in times):
            self.fail(f"{key}.run", "is missing: say how long it works each time")
        if times.get("stop", times.get("start", 0) + 1) <= times.get("start", 0):
            self.fail(f"{key}.stop", "give a time after its start")
        for i in range(count):
            yield Vcpu(f"{name}{i + 1}" if "count" in table else name, parameters, **times)

    def parameters(
        self, key: str, table: Mapping[str, Any], before: VcpuParameters
    ) -> VcpuParameters:
        """Those of `before` with what the table says, checked."""
        values: dict[str, Any] = {}
        for word in ("weight", "cap"):
            if word in table:
                values[word] = self.typed(f"{key}.{word}", table[word], int)
        for word in ("budget", "period"):
            if word in table:
                values[f"{word}_ns"] = self.duration(f"{key}.{word}", table[word])
        if "affinity" in table:
            pcpus = self.typed(f"{key}.affinity", table["affinity"], list)
            values["affinity"] = frozenset(
                self.typed(f"{key}.affinity[{i}]", pcpu, int) for i, pcpu in enumerate(pcpus)
            )
        parameters = replace(before, **values)
        try:
            check(parameters, self.pcpus)
        except InvalidError as error:
            self.fail(key, str(error))
        return parameters

    def changes(self, value: Any, everybody: list[Vcpu]) -> Iterator[VcpuChange | PolicyChange]:
        tables = self.typed("changes", value, list)
        located = [
            (f"changes[{i}]", self.typed(f"changes[{i}]", t, dict)) for i, t in enumerate(tables)
        ]
        for key, table in located:
            if "at" not in table:
                self.fail(f"{key}.at", "is missing: say when, such as at = '500ms'")
        timed = [(self.duration(f"{key}.at", t["at"]), key, t) for key, t in located]
        timed.sort(key=lambda change: change[0])
        current = {vcpu.name: vcpu.parameters for vcpu in everybody}
        slice_ns = self.slice_ns
        for at, key, table in timed:
            if "policy" in table:
                self.known_keys(key, table, ("at", "policy", "slice"))
                if "slice" in table:
                    slice_ns = self.slice(f"{key}.slice", table["slice"])
                policy = self.policy(f"{key}.policy", table["policy"])
                yield PolicyChange(f"scenario {self.path}: {key}", at, policy, slice_ns, policy)
                continue
            self.known_keys(key, table, ("at", "vcpu", *_PARAMETERS))
            changed = {
                name: self.parameters(key, table, current[name]) for name in self.meant(key, table)
            }
            current |= changed
            said = ", ".join(f"{word} {table[word]}" for word in _PARAMETERS if word in table)
            label = f"{table['vcpu']}: {said}"
            yield VcpuChange(f"scenario {self.path}: {key}", at, changed, label)

    def meant(self, key: str, table: Mapping[str, Any]) -> list[str]:
        """The vCPUs that a change is about: a table's, or one of those alike."""
        if "vcpu" not in table:
            self.fail(key, "say what changes: give vcpu or policy")
        name = self.typed(f"{key}.vcpu", table["vcpu"], str)
        each = {vcpu.name: [vcpu] for group in self.groups.values() for vcpu in group}
        known = each | self.groups
        if name not in known:
            self.fail(f"{key}.vcpu", f"no vCPU {name!r}{nearest(name, known)}")
        return [vcpu.name for vcpu in known[name]]

    def check_names(self, everybody: list[Vcpu]) -> None:
        names = [vcpu.name for vcpu in everybody]
        for name in names:
            if names.count(name) > 1:
                self.fail("vcpus", f"two vCPUs are called {name}: rename one")
        if len(names) > MAX_VCPUS:
            self.fail("vcpus", f"these are {len(names)}: give {MAX_VCPUS} at most")

    def policy(self, key: str, value: Any) -> str:
        name = self.typed(key, value, str)
        try:
            registry.find(name)
        except UserError as error:
            self.fail(key, str(error))
        return name

    def duration(self, key: str, value: Any, least: int = 0) -> int:
        text = self.typed(key, value, str)
        try:
            found = parse_duration(text)
        except UserError as error:
            self.fail(key, str(error))
        if found < least:
            self.fail(key, "give more than nothing")
        return found

    def slice(self, key: str, value: Any) -> int:
        found = self.duration(key, value)
        try:
            check_slice(found)
        except UserError as error:
            self.fail(key, str(error))
        return found

    def whole(self, key: str, value: Any, most: int) -> int:
        number = self.typed(key, value, int)
        if not 1 <= number <= most:
            self.fail(key, f"{number} is not possible: give 1 to {most}")
        return number

    def typed(self, key: str, value: Any, kind: type[T]) -> T:
        if type(value) is not kind:
            self.fail(key, f"must be {_TYPES[kind]}")
        return value

    def known_keys(self, key: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                where = f"{key}.{name}" if key else name
                self.fail(where, f"no such key{nearest(name, known)}")

    def fail(self, key: str, problem: str) -> NoReturn:
        raise UserError(f"scenario {self.path}: {key}: {problem}") from None
