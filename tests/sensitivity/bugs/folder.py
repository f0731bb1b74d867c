"""Mistakes in shared folders: what a guest may reach, and what is known after a death."""

from tests.sensitivity.checkers import Suite
from tests.sensitivity.plant import Bug, Edit

BENEATH = "drivers.beneath"
FIDS = "service_os.models.ninep_fids"
TURN = "service_os.models.ninep_turn"
MODEL = "tests/service_os/models/test_ninep.py"
DEATHS = f"{MODEL}::test_a_death_anywhere_in_a_request_changes_neither_answer_nor_outcome"
NO_FOLDER = "no guest of the simulator or of a scenario has a shared folder"

BUGS = (
    Bug(
        "parent-walked-out",
        "`..` leads nowhere from the root of a folder: instead to what is above it",
        (Edit(TURN, "step", "return above(path) if", 'return path + b"/.." if'),),
        Suite(f"{MODEL}::test_no_name_leads_out", NO_FOLDER),
        r"FAILED \S+::test_no_name_leads_out",
    ),
    Bug(
        "kernel-lets-out",
        "the kernel refuses paths that lead out of the folder: instead it is not asked to",
        (Edit(BENEATH, "find", "0, RESOLVE)", "0, RESOLVE & ~RESOLVE_BENEATH)"),),
        Suite("tests/drivers/test_beneath.py", "the model gives such paths to nobody"),
        r"FAILED \S+::test_nothing_else_is",
    ),
    Bug(
        "link-followed",
        "no symbolic link is followed on the host: instead those that lead to another place of the"
        " folder are",
        (Edit(BENEATH, "find", "0, RESOLVE)", "0, RESOLVE & ~RESOLVE_NO_SYMLINKS)"),),
        Suite("tests/drivers/test_beneath.py", "the model walks into no link"),
        r"FAILED \S+::test_nothing_else_is",
    ),
    Bug(
        "name-with-slash",
        "a name is of one step: instead it may be a path",
        (Edit(TURN, "child", ' or b"/" in name', ""),),
        Suite(f"{MODEL}::test_no_name_leads_out", NO_FOLDER),
        r"FAILED \S+::test_no_name_leads_out",
    ),
    Bug(
        "fid-forgotten",
        "the next incarnation knows the guest's fids: instead they die with the process",
        (Edit(FIDS, "Memory.put", "self._changes.append(_set(number, fid))", "pass"),),
        Suite(
            "tests/service_os/test_folder.py::"
            "test_the_next_incarnation_knows_the_fids_and_opens_them_when_they_are_used",
            NO_FOLDER,
        ),
        r"FAILED \S+::test_the_next_incarnation_knows_the_fids",
    ),
    Bug(
        "fids-left-behind",
        "fids below a directory move with it: instead they keep the path that is no more",
        (Edit(FIDS, "Memory.move", " or fid.path.startswith(below)", ""),),
        Suite(f"{MODEL}::test_names_move_and_so_do_fids_below_them", NO_FOLDER),
        r"FAILED \S+::test_names_move_and_so_do_fids_below_them",
    ),
    Bug(
        "intent-unsaid",
        "a change that is replayed counts as made: instead nobody knows that it was begun",
        (Edit(TURN, "Turn.intend", "self._memory.intend(self._generation, facts)", "pass"),),
        Suite(f"{DEATHS}[rename-few]", "the moment between a change and its answer is a call long"),
        r"FAILED \S+\[rename-few\]",
    ),
    Bug(
        "answered-twice",
        "what was answered is not done again: instead it is, and somebody else's file goes",
        (Edit(FIDS, "Memory.answer_to", "return self._answers.get(generation) or", "return"),),
        Suite(
            f"{MODEL}::test_what_was_answered_is_answered_again_without_being_done_again",
            NO_FOLDER,
        ),
        r"FAILED \S+::test_what_was_answered_is_answered_again",
    ),
    Bug(
        "another-file-opened",
        "an open file is the same after a death, or stale: instead whatever has its name by then",
        (
            Edit(
                "drivers.folder_directory",
                "DirectoryFolder.reopen",
                "found.st_ino != inode",
                "False",
            ),
        ),
        Suite(f"{MODEL}::test_a_file_replaced_while_nobody_served_is_stale", NO_FOLDER),
        r"FAILED \S+::test_a_file_replaced_while_nobody_served_is_stale",
    ),
)
