"""Drivers of shared folders each of which breaks one promise, made from the one that is there."""

import os
from contextlib import suppress
from dataclasses import replace

from drivers.folder_directory import DirectoryFile, DirectoryFolder

BREAKS = {}  # by kind, check, and name of the driver


def breaks(check):
    def note(driver):
        BREAKS["folder", check, driver.__name__] = driver
        return driver

    return note


@breaks("says_what_it_is")
class NoTag(DirectoryFolder):
    def __init__(self, options):
        super().__init__(options)
        self.tag = ""


@breaks("stores_what_is_written")
class Overwrites(DirectoryFolder):
    """It takes what is there for what is to be made."""

    def create(self, path, flags, mode):
        try:
            return super().create(path, flags, mode)
        except FileExistsError:
            return super().open(path, flags)


@breaks("stores_what_is_written")
class KeepsTail(DirectoryFolder):
    def open(self, path, flags):
        return super().open(path, flags & ~os.O_TRUNC)


@breaks("makes_moves_and_removes")
class RemovesAll(DirectoryFolder):
    """What is in a directory goes with it."""

    def remove(self, path, directory):
        if directory:
            file = self.open(path, os.O_RDONLY)
            names = [entry.name for entry in file.names()]
            file.close()
            for name in names:
                super().remove(path + b"/" + name, False)
        super().remove(path, directory)


@breaks("makes_moves_and_removes")
class Copies(DirectoryFolder):
    """Links are copies."""

    def make_link(self, path, existing):
        file = self.open(existing, os.O_RDONLY)
        into = memoryview(bytearray(1000))
        count = file.read(0, into)
        file.close()
        new = self.create(path, os.O_RDWR, 0o644)
        new.write(0, into[:count])
        new.close()


@breaks("keeps_modes")
class Umask(DirectoryFolder):
    def make_directory(self, path, mode):
        with self._changing(path) as (parent, name):
            os.mkdir(name, mode, dir_fd=parent)


class Names(DirectoryFolder):
    """It trusts paths."""

    def _at(self, path):
        return os.path.join(os.fsencode(self._path), path)


@breaks("follows_no_links")
class FollowsLinks(Names):
    """Paths are refused if they climb, and links in them followed."""

    def stat(self, path):
        if b".." in path.split(b"/") or path.startswith(b"/"):
            raise PermissionError(1, "no")
        return os.lstat(self._at(path))

    def open(self, path, flags):
        self.stat(path)
        return DirectoryFile(os.open(self._at(path), flags), False)


@breaks("follows_no_links")
class FollowsLast(Names):
    """A link at the end of a path is followed when it is opened."""

    def open(self, path, flags):
        super().stat(path)
        return DirectoryFile(os.open(self._at(path), flags), False)


@breaks("stays_below_its_root")
class Climbs(Names):
    def stat(self, path):
        return os.lstat(self._at(path))


@breaks("stays_below_its_root")
class ClimbsToMake(Names):
    def make_symlink(self, path, target):
        os.symlink(target, self._at(path))


class ByName(DirectoryFile):
    """It opens the file anew each time."""

    def __init__(self, fd, path):
        super().__init__(fd, False)
        self._path = path

    def read(self, offset, into):
        with open(self._path, "rb") as file:
            file.seek(offset)
            return file.readinto(into)


@breaks("reads_what_has_lost_its_name")
class OpensAnew(Names):
    def open(self, path, flags):
        found = super().open(path, flags)
        return ByName(found._fd, self._at(path))


@breaks("reopens_what_was_open")
class AnyFile(DirectoryFolder):
    def reopen(self, path, flags, inode):
        return super().reopen(path, flags, self.stat(path).st_ino)


@breaks("reopens_what_was_open")
class LeavesWritable(DirectoryFolder):
    def reopen(self, path, flags, inode):
        os.chmod(os.path.join(os.fsencode(self._path), path), 0o644)
        return super().reopen(path, flags, inode)


@breaks("is_unchanged_if_readonly")
class HalfReadonly(DirectoryFolder):
    """It refuses what is made, and no other change."""

    def make_directory(self, path, mode):
        raise OSError(30, "read-only")

    def create(self, path, flags, mode):
        raise OSError(30, "read-only")


@breaks("stands_by")
class OldNotes(DirectoryFolder):
    """The notes of when it was opened."""

    def __init__(self, options):
        super().__init__(options)
        self._old = super().begin() or list(super().notes())

    def begin(self):
        pass

    def notes(self):
        return self._old


@breaks("survives_sigkill")
class RenamesLater(DirectoryFolder):
    def __init__(self, options):
        super().__init__(options)
        self._later = []

    def rename(self, old, new):
        self._later.append((old, new))

    def close(self):
        for old, new in self._later:
            super().rename(old, new)
        super().close()


@breaks("calls_may_be_cut_off_anywhere")
class RenamesInTwo(DirectoryFolder):
    """What is in the way is removed first."""

    def rename(self, old, new):
        with suppress(FileNotFoundError):
            super().remove(new, False)
        super().rename(old, new)


@breaks("calls_may_be_cut_off_anywhere")
class TruncatesFirst(DirectoryFolder):
    def change(self, path, change):
        if change.size:
            super().change(path, replace(change, size=0))
        super().change(path, change)


@breaks("notes_survive_sigkill")
class NotesLater(DirectoryFolder):
    def __init__(self, options):
        super().__init__(options)
        self._later = []

    def note(self, record, instead):
        self._later.append((record, instead))

    def close(self):
        for record, instead in self._later:
            super().note(record, instead)
        super().close()


@breaks("notes_may_be_said_anew")
class ForgetsTheLast(DirectoryFolder):
    """What replaces notes was said before the last of them."""

    def note(self, record, instead):
        super().note(record, lambda: instead()[:-1])
