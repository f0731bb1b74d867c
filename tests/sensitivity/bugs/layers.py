"""Mistakes in disks that stand on others: mirror, overlay, NBD and encryption."""

from tests.sensitivity.checkers import Suite
from tests.sensitivity.plant import Bug, Edit

LEGS = "drivers.mirror_legs"
MIRROR = "drivers.block_mirror"
NBD = "drivers.block_nbd"
ENCRYPT = "drivers.block_encrypt"
KEPT = "tests/drivers/test_block_nbd.py::test_writes_are_kept_until_a_flush_and_not_for_ever"
NO_LAYERS = "the disks of scenarios stand on no others"

BUGS = (
    Bug(
        "stale-child-trusted",
        "a child that missed a write is not read, by no later incarnation either: instead whatever"
        " can be opened counts as good",
        (
            Edit(
                MIRROR,
                "MirrorBlock.begin",
                "remembered and leg.driver is not None",
                "leg.driver is not None",
            ),
        ),
        Suite(
            "tests/drivers/test_mirror_legs.py::"
            "test_a_stale_child_is_not_read_by_those_who_come_later",
            NO_LAYERS,
        ),
        r"FAILED \S+::test_a_stale_child_is_not_read",
    ),
    Bug(
        "child-read-too-soon",
        "a child is read when it has caught up: instead while it does",
        (
            Edit(
                LEGS,
                "Legs.read",
                "for leg in self.good:",
                "for leg in [one for one in self._legs if one.good or one.reach]:",
            ),
        ),
        Suite(
            "tests/drivers/test_mirror_resync.py::test_what_was_unreadable_is_written_anew",
            NO_LAYERS,
        ),
        r"FAILED \S+::test_what_was_unreadable_is_written_anew",
    ),
    Bug(
        "child-out-told-late",
        "who is out is durable before the write is completed: instead it is known to one process",
        (Edit(LEGS, "Legs._all", "self.save()", "pass"),),
        Suite(
            "tests/drivers/test_mirror_legs.py::"
            "test_who_is_out_is_durable_before_the_write_is_completed",
            NO_LAYERS,
        ),
        r"FAILED \S+::test_who_is_out_is_durable",
    ),
    Bug(
        "differences-forgotten",
        "children are made equal where writes were under way when the power went: instead nobody"
        " knows where that was",
        (Edit(MIRROR, "MirrorBlock.begin", "self._legs.pending.update(state.marked)", "pass"),),
        Suite(
            "tests/drivers/test_mirror_resync.py::"
            "test_after_a_loss_of_power_the_first_has_the_last_word_where_writes_were_under_way",
            NO_LAYERS,
        ),
        r"FAILED \S+::test_after_a_loss_of_power",
    ),
    Bug(
        "map-before-data",
        "a flush makes data durable before the map that says it is there: instead the map first",
        (
            Edit(
                "drivers.overlay_top",
                "Top.flush",
                "os.fdatasync(self._fd)\n    if not self._unsaved:\n        return",
                "if not self._unsaved:\n        os.fdatasync(self._fd)\n        return",
            ),
        ),
        Suite(
            "tests/drivers/test_block_overlay.py::test_a_power_cut_takes_nothing_that_was_flushed",
            NO_LAYERS,
        ),
        r"FAILED \S+::test_a_power_cut_takes_nothing_that_was_flushed",
    ),
    Bug(
        "marked-before-written",
        "a cluster counts as the top's when its data is there: instead before it is",
        (
            Edit(
                "drivers.block_overlay",
                "OverlayBlock.write",
                "if not present:\n                self._copy_up(start, stop)",
                "if not present:\n"
                "                self._mark(start, stop)\n"
                "                self._copy_up(start, stop)",
            ),
        ),
        Suite(
            "tests/drivers/test_block_overlay.py::test_a_full_disk_is_an_error_and_no_garbage",
            NO_LAYERS,
        ),
        r"FAILED \S+::test_a_full_disk_is_an_error_and_no_garbage",
    ),
    Bug(
        "resent-backwards",
        "a server that comes back gets the writes again in their order: instead backwards",
        (
            Edit(
                NBD,
                "NbdBlock._reconnect",
                "in self._unflushed:",
                "in reversed(self._unflushed):",
            ),
        ),
        Suite(KEPT, NO_LAYERS, needs="nbdkit"),
        r"FAILED \S+::test_writes_are_kept_until_a_flush",
    ),
    Bug(
        "flush-kept-from-server",
        "a flush is the server's to do: instead the writes before it are only forgotten",
        (Edit(NBD, "NbdBlock._flush", "self._call(Command.FLUSH, 0, 0, deadline)", "pass"),),
        Suite(KEPT, NO_LAYERS, needs="nbdkit"),
        r"FAILED \S+::test_writes_are_kept_until_a_flush",
    ),
    Bug(
        "heirloom-unflushed",
        "who takes over has the server flush what others wrote: instead it waits for the guest",
        (
            Edit(
                NBD,
                "NbdBlock.begin",
                "self._unflushed_bytes = MAX_UNFLUSHED",
                "self._unflushed_bytes = 0",
            ),
        ),
        Suite(KEPT, NO_LAYERS, needs="nbdkit"),
        r"FAILED \S+::test_writes_are_kept_until_a_flush",
    ),
    Bug(
        "tweak-of-the-request",
        "a sector's tweak is its number on the disk: instead that within the request",
        (
            Edit(ENCRYPT, "EncryptBlock.read", "offset // SECTOR", "0"),
            Edit(ENCRYPT, "EncryptBlock.write", "offset // SECTOR", "0"),
        ),
        Suite(
            "tests/drivers/test_block_encrypt.py::"
            "test_what_is_written_is_read_and_is_a_secret_below",
            NO_LAYERS,
        ),
        r"FAILED \S+::test_what_is_written_is_read",
    ),
)
