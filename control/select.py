"""Which CPU back end a guest gets: `auto` takes the first that works here."""

from microhypervisor.cpu.protocol import BackEnd
from microhypervisor.errors import EnvironmentFault
from microhypervisor.plugins import load

GROUP = "splitvisor.cpus"
PREFERENCE = ("kvm", "emulated")


def back_end(name: str) -> BackEnd:
    """Load a back end; EnvironmentFault if it is not installed or does not load."""
    loaded: BackEnd = load(GROUP, name)
    return loaded


def problem_of(name: str) -> str:
    """Why a back end cannot be used here, with the cure; empty when it can."""
    try:
        return back_end(name).problem()
    except EnvironmentFault as fault:
        return str(fault)


def choose(name: str) -> BackEnd:
    """The back end of that name, or for `auto` the first that works; EnvironmentFault if none."""
    wanted = PREFERENCE if name == "auto" else (name,)
    problems = [problem_of(candidate) for candidate in wanted]
    if all(problems):
        raise EnvironmentFault("; ".join(problems))
    return back_end(wanted[problems.index("")])
