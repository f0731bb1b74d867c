"""A deterministic simulator of recovery: production's protocol, logs, models and state machines, in
a world where every message, execution, death and reaping is a step that a seed decides.

`run` is all that a caller needs. A planted bug is a patch of production classes that the caller
applies around it.
"""

from tests.simulation.run import run
from tests.simulation.violation import Report, Violation

__all__ = ["Report", "Violation", "run"]
