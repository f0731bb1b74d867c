"""Two machines, and one file that a disk of the first writes."""

import re


def test_a_file_that_a_machine_uses_is_no_other_machines(splitvisor, guest, disk, interrupted):
    image = disk(4)
    blockcheck = guest("blockcheck"), "--disk", f"file:path={image}", "--console", "null"
    with splitvisor.start("run", "-v", *blockcheck, "--", "passes=1000") as first:
        first.until("guest blockcheck: started")
        status, output, errors = splitvisor("run", *blockcheck)
        assert (status, output) == (2, "")
        assert re.fullmatch(
            rf"splitvisor: device blockcheck/disk0: file {image} is in use by another process "
            rf"\(pid {first.pid}\): stop it first\n",
            errors,
        )
        other = f"overlay:path={image.parent}/top,base=(file:path={image},readonly)"
        status, _, errors = splitvisor("run", guest("blockcheck"), "--disk", other)
        assert (status, "stop it first" in errors) == (2, True)
        interrupted(first)
    assert splitvisor("run", *blockcheck, "--", "passes=1")[0] == 0
