"""Mistakes in live swaps, and in disks that are copied while they are used."""

from tests.sensitivity.checkers import Suite
from tests.sensitivity.plant import Bug, Edit

SERVICE = "sessions.service"
COPYING = "drivers.copying"
MIGRATE = "drivers.block_migrate"
SWAP = "tests/sessions/test_service_swap.py"
COPY = "tests/drivers/test_copying.py"
MOVE = "tests/drivers/test_block_migrate.py"
NO_SWAP = "no scenario swaps a driver"
NO_COPY = "no scenario copies a disk"

BUGS = (
    Bug(
        "swap-without-drain",
        "the old driver finishes what it has in flight: instead the new one is begun at once",
        (
            Edit(
                SERVICE,
                "Service._hand_over",
                "drain([a], round(patience_s * 1000), time.monotonic() + patience_s)",
                "a.device.hold(True)",
            ),
        ),
        Suite(f"{SWAP}::test_what_is_not_done_in_time_stays_where_it_is", NO_SWAP),
        r"FAILED \S+::test_what_is_not_done_in_time_stays_where_it_is",
    ),
    Bug(
        "two-drivers-at-once",
        "a driver begins when the one before it has closed: instead both have the device",
        (
            Edit(
                "service_os.session",
                "Sessions._enter",
                "lambda: key not in self._served",
                "lambda: True",
            ),
        ),
        Suite(
            "tests/service_os/test_device.py::"
            "test_of_two_streams_of_one_device_the_second_begins_when_the_first_has_closed",
            NO_SWAP,
        ),
        r"FAILED \S+::test_of_two_streams_of_one_device",
    ),
    Bug(
        "swap-forgotten",
        "who takes over after a swap has the new driver: instead it has the old one",
        (
            Edit(
                SERVICE,
                "Service._switched",
                "a.device.config.spec = session.dialogue.spec",
                "pass",
            ),
        ),
        Suite(
            f"{SWAP}::test_a_death_after_it_comes_back_with_the_new_driver_and_so_does_the_standby",
            NO_SWAP,
        ),
        r"FAILED \S+::test_a_death_after_it_comes_back_with_the_new_driver",
    ),
    Bug(
        "content-not-compared",
        "a swap is refused if the guest would find another disk: instead it is made",
        (
            Edit(
                "splitvisor.supervisor.swaps",
                "planned",
                "not same and request.content != operator.CONTENT_REPLACED",
                "False",
            ),
        ),
        Suite("tests/splitvisor/supervisor/test_swaps.py", NO_SWAP),
        r"FAILED \S+::test_other_content_needs_a_word_and_an_idle_guest",
    ),
    Bug(
        "write-beside-copy-missed",
        "what is written while a piece is copied is copied again: instead only what lies before it",
        (
            Edit(
                COPYING,
                "Pair._noted",
                "offset < self.reach + PIECE",
                "offset < self.reach",
            ),
        ),
        Suite(COPY, NO_COPY),
        r"FAILED \S+::test_a_write_while_a_piece_is_under_way_is_copied_again",
    ),
    Bug(
        "settled-too-soon",
        "a copy is complete when all that was missed is there: instead when all was copied once",
        (Edit(COPYING, "Pair.settle", "self._catch_up(len(self._missed))", "pass"),),
        Suite(COPY, NO_COPY),
        r"FAILED \S+::test_a_write_while_a_piece_is_under_way_is_copied_again",
    ),
    Bug(
        "pivot-unasked",
        "a target is served if the copy is complete at that moment: instead in any case",
        (
            Edit(
                "drivers.block_pivot",
                "PivotBlock.begin",
                "not self._mark.is_there()",
                "False",
            ),
        ),
        Suite(f"{MOVE}::test_a_complete_copy_is_served_by_pivot_and_others_are_not", NO_COPY),
        r"FAILED \S+::test_a_complete_copy_is_served_by_pivot_and_others_are_not",
    ),
    Bug(
        "mark-of-the-dead",
        "a copy that a death cut off starts over: instead its target still counts as complete",
        (Edit(MIGRATE, "MigrateBlock.begin", "self._mark.remove()", "pass"),),
        Suite(f"{MOVE}::test_each_incarnation_that_begins_takes_the_mark_away", NO_COPY),
        r"FAILED \S+::test_each_incarnation_that_begins_takes_the_mark_away",
    ),
    Bug(
        "mark-outlives-target",
        "a target that failed a write is not served: instead it still counts as complete",
        (Edit(MIGRATE, "MigrateBlock._followed", "self._mark.remove()", "pass"),),
        Suite(f"{MOVE}::test_a_write_that_fails_after_the_copy_undoes_its_completeness", NO_COPY),
        r"FAILED \S+::test_a_write_that_fails_after_the_copy_undoes_its_completeness",
    ),
)
