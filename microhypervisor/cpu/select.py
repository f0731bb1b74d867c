"""Which CPU back end a guest gets: `auto` takes the first that works here.

Back ends are plug-ins, found by entry points in the group `splitvisor.cpus`: the core names two of
them and imports none.
"""

from functools import cache
from importlib.metadata import entry_points

from microhypervisor.cpu.protocol import BackEnd
from microhypervisor.errors import EnvironmentFault

GROUP = "splitvisor.cpus"
PREFERENCE = ("kvm", "emulated")


@cache
def back_end(name: str) -> BackEnd:
    """Load a back end; EnvironmentFault if it is not installed or does not load."""
    for entry in entry_points(group=GROUP, name=name):
        try:
            loaded: BackEnd = entry.load()
        except ImportError as error:
            raise EnvironmentFault(f"the {name} CPU cannot be loaded: {error}") from None
        return loaded
    raise EnvironmentFault(f"no CPU back end {name} is installed: run 'make setup' again")


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
