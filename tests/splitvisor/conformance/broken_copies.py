"""Drivers that copy a disk, each of which breaks one promise, made from the one that is there."""

from drivers.block_migrate import MigrateBlock
from drivers.filter import begin

BREAKS = {}  # by kind, check, and name of the driver


def breaks(check):
    def note(driver):
        BREAKS["block", check, driver.__name__] = driver
        return driver

    return note


@breaks("copies_what_is_written_meanwhile")
class ForgetsWrites(MigrateBlock):
    """What is written where the copy has been already goes to the source alone."""

    def write(self, offset, data):
        self._change(offset, len(data), lambda disk: disk.write(offset, data))


@breaks("copies_what_is_written_meanwhile")
class ForgetsZeros(MigrateBlock):
    def write_zeroes(self, offset, length, unmap):
        self._change(offset, length, lambda disk: disk.write_zeroes(offset, length, unmap))


@breaks("a_copy_may_be_cut_off_anywhere")
class TrustsTheDead(MigrateBlock):
    """Who died had copied all, it thinks."""

    def __init__(self, options):
        super().__init__(options)
        self._alive = options.keep.path.with_name("alive")

    def begin(self):
        if self._alive.exists():
            for disk in self._opened:
                begin(disk)
            self._pair.reach = self.size
            self._complete = True
        else:
            super().begin()
        self._alive.touch()

    def _step(self, act):  # most of the time at which it may be cut off
        return super()._step(act) and not self._ending.wait(0.01)

    def close(self):
        super().close()
        self._alive.unlink(missing_ok=True)


@breaks("a_pivot_begins_behind_a_whole_copy")
class SaysSoTooEarly(MigrateBlock):
    def begin(self):
        super().begin()
        self._mark.make()

    def _copy(self):
        self._ending.wait()


@breaks("a_pivot_begins_behind_a_whole_copy")
class SaysNothing(MigrateBlock):
    def _finish(self):
        self._complete = True
