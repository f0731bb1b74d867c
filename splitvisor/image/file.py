"""Reading a file that the user named, whole, with every way it can fail told in one line."""

import stat
from pathlib import Path

from splitvisor.errors import UserError
from splitvisor.units import format_size

MAX_FILE = 1 << 30  # more than any kernel; keeps a disk image given by mistake out of memory


def read_file(what: str, path: Path) -> bytes:
    """All of the regular file at `path`; UserError, calling it `what`, if that cannot be read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{what} {path} is a directory: name a file")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{what} {path} is not a regular file: name one that is")
        if status.st_size > MAX_FILE:
            raise UserError(
                f"{what} {path} has {status.st_size} bytes, more than the "
                f"{format_size(MAX_FILE)} that are read: is it a disk image?"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{what} {path} does not exist: check the path") from None
    except PermissionError:
        raise UserError(f"{what} {path} may not be read: give yourself the permission") from None
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the path
        raise UserError(f"{what} {str(path)!r} cannot be read: {error}") from None
