"""A scenario: which vCPUs there are, what they do, and what changes when. Times in nanoseconds."""

from dataclasses import dataclass, field

from policies.parameters import VcpuParameters

MAX_PCPUS = 64
MAX_VCPUS = 1000


@dataclass(frozen=True)
class Vcpu:
    """One vCPU, which spins unless it has a `run` time.

    With `every` it has work for `run` at these intervals, and sleeps in between if there is time;
    otherwise it sleeps for `sleep` each time it has run.
    """

    name: str
    parameters: VcpuParameters = field(default_factory=VcpuParameters)
    run: int | None = None
    sleep: int | None = None
    every: int | None = None
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class VcpuChange:
    """Other parameters for some vCPUs."""

    key: str  # where it stands in the file
    at: int
    parameters: dict[str, VcpuParameters]
    label: str = ""  # what it says, for pictures


@dataclass(frozen=True)
class PolicyChange:
    """Another policy."""

    key: str
    at: int
    policy: str
    slice_ns: int
    label: str = ""


@dataclass(frozen=True)
class Scenario:
    """All that determines a simulation."""

    policy: str
    vcpus: tuple[Vcpu, ...]
    duration: int
    pcpus: int = 1
    slice_ns: int = 10_000_000
    kick_cost: int = 0  # from being told to give way to having done so
    switch_cost: int = 0  # from being put on a pCPU to doing work there
    changes: tuple[VcpuChange | PolicyChange, ...] = ()
    origin: str = ""  # what errors begin with
