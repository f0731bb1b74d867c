"""A campaign: round after round, each a machine of its own under its share of the faults.

Rounds of a minute, because a disk that is judged from outside so often shows where in a long
campaign something went wrong. Each round has a seed of its own, see `Plan.round_seed`, so it can be
had alone.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from splitvisor.chaos.judgement import judge
from splitvisor.chaos.plan import Disk, Plan
from splitvisor.chaos.round import Round
from splitvisor.chaos.tally import Tally
from splitvisor.chaos.witness import Testimony
from splitvisor.checks.clock import cycles_per_second
from splitvisor.testing.failure import noted
from splitvisor.testing.testbed import Testbed

ROUND = 60.0  # seconds
TO_A_CUT = (1.5, 6.0)  # seconds of a round that ends with a loss of power
SHORTEST = 1.5  # of a round, however little time is left

SIGNALLED = (KeyboardInterrupt, SystemExit)  # how a signal ends a command of splitvisor

# Told about once a second: the sums of all rounds before, and the events of this one.
Progress = Callable[[Tally, Testimony], None]


class Campaign:
    """Files of round n, counted from 1, are in the folder `round-n`; unless told to `keep` them,
    those of rounds in which all is well go.
    """

    def __init__(self, plan: Plan, folder: Path, progress: Progress, keep: bool = False) -> None:
        self.tally = Tally()
        self._plan = plan
        self._folder = folder
        self._progress = progress
        self._keep = keep
        self._hz = cycles_per_second()
        self._began = time.monotonic()

    def run(self) -> Tally:
        """All rounds, until the time is over, enough was done, or something is wrong."""
        tally = self.tally
        while not tally.problems and tally.interrupted is None and not self._enough():
            left = self._plan.seconds - self._elapsed()
            if left < SHORTEST and tally.rounds:
                break
            self._round(round(self._length(max(left, SHORTEST)), 2))
            tally.seconds = self._elapsed()
        return tally

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _enough(self) -> bool:
        plan, tally = self._plan, self.tally
        done = tally.recoveries >= plan.recoveries and tally.zombies >= plan.zombies
        return plan.has_goal and done

    def _length(self, left: float) -> float:
        """Seconds of the next round."""
        if self._plan.disk is Disk.POWERCUT:
            random = Random(self._plan.round_seed(self.tally.rounds))
            return min(random.uniform(*TO_A_CUT), left)
        return left if left < 2 * ROUND else ROUND

    def _round(self, seconds: float) -> None:
        tally, seed = self.tally, self._plan.round_seed(self.tally.rounds)
        tally.rounds += 1
        folder = self._folder / f"round-{tally.rounds}"
        folder.mkdir(parents=True)
        problems: list[str] = []
        try:
            with noted(problems), Testbed(folder, self._plan.cpu) as bed:
                this = Round(self._plan, bed, seed, seconds, self._hz)
                with noted(this.problems):
                    self._disturb(this)
                problems += this.problems
            if not problems and not self._keep:
                shutil.rmtree(folder)
        except SIGNALLED as signalled:
            tally.interrupted = signalled
        if problems:
            tally.failed_seed, tally.failed_seconds = seed, seconds
            tally.problems += problems

    def _disturb(self, this: Round) -> None:
        """Run a round and add it to the sums."""
        tally = self.tally
        try:
            this.run(lambda one: self._progress(tally, one.testimony()))
        except SIGNALLED as signalled:
            tally.interrupted = signalled
        said, injector = this.conclude(), this.injector
        tally.drawn += injector.drawn
        tally.done += injector.done
        tally.idle += injector.idle
        tally.survived += injector.survived
        tally.refused += injector.refused
        tally.zombies += injector.zombies
        tally.zombies_alive += injector.zombies_alive
        tally.outages += said.outages
        tally.standbys_lost += said.standbys_lost
        tally.swaps += said.swaps
        logs = []
        for remains in this.remains():
            log, problems = judge(remains)
            this.problems += problems
            logs += [log] if log else []
        tally.hear(logs)
        tally.power_cuts += self._plan.disk is Disk.POWERCUT and tally.interrupted is None
