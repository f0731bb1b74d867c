"""A process in which each broken driver meets the check that is to catch it, and each sound one all
checks of its kind. `python attempts.py FOLDER` prints a line of JSON for each attempt.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import broken_copies
import broken_drivers
import broken_folders

from splitvisor.conformance import checks
from splitvisor.conformance.contract import checks_of
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.worker import attempt


def main(folder):
    for kind, name in broken_drivers.SOUND:
        checks.load(kind)
        for check in checks_of(kind):
            note(kind, name, attempt(check, subject_of(kind, name, folder)))
    for kind, wanted, name in (
        *broken_drivers.BREAKS,
        *broken_folders.BREAKS,
        *broken_copies.BREAKS,
    ):
        checks.load(kind)
        (check,) = [check for check in checks_of(kind) if check.name == wanted]
        note(kind, name, attempt(check, subject_of(kind, name, folder)))


def subject_of(kind, name, folder):
    place = folder / name
    place.mkdir(exist_ok=True)
    if kind == "block" and not (place / "a.img").exists():
        (place / "a.img").write_bytes(bytes(4 << 20))
    if kind == "folder":
        (place / "tree").mkdir(exist_ok=True)
        return Subject(kind, f"{name}:path={place}/tree", place)
    if hasattr(broken_copies, name):
        (place / "b.img").write_bytes(bytes(4 << 20))
        disks = f"source=(file:path={place}/a.img),target=(file:path={place}/b.img)"
        return Subject(kind, f"{name}:{disks}", place)
    spec = f"{name}:path={place}/a.img" if kind in broken_drivers.FILES else name
    return Subject(kind, spec, place)


def note(kind, name, result):
    print(json.dumps([kind, name, asdict(result)]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
