"""A shared folder in a real service OS that is killed while it works; the test plays the core."""

import os
import random
import threading

import grpc
import pytest

from service_os.models.ninep_wire import RLERROR, T
from tests.service_os.folder_core import Core
from tests.service_os.models.ninep_client import Client, message, text


@pytest.fixture
def share(tmp_path):
    path = tmp_path / "share"
    path.mkdir()
    return path


def test_the_next_incarnation_knows_the_fids_and_opens_them_when_they_are_used(start, share):
    core = Core(start, share)
    client = Client(core.exchange)
    client.mount()
    client.mkdir(b"d")
    d = client.walk(b"d")
    fid = client.create(b"f", start=d, mode=0o400)
    client.write(fid, b"before")
    core.incarnation.kill()
    client.write(fid, b"after, ", 0)
    assert client.read(fid) == b"after, "
    client.rename(b"d", b"e")
    core.incarnation.kill()
    client.call(T.LOPEN, (d, 4), (0, 4))
    core.incarnation.kill()
    assert client.list(d) == [b"f"]
    assert client.read(fid) == b"after, "
    assert (share / "e" / "f").stat().st_mode & 0o777 == 0o400


def test_requests_that_are_killed_again_and_again_are_done_once(start, share):
    """Each asks for a change that cannot be made twice, and must be told that it was made."""
    core = Core(start, share)
    client = Client(core.exchange)
    client.mount()
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    rng = random.Random(seed)
    rounds, batch = 6, 60
    for turn in range(rounds):
        asked = []
        for i in range(batch):
            name, new = b"%d.%d" % (turn, i), b"moved.%d.%d" % (turn, i)
            asked += [
                message(T.MKDIR, len(asked), (0, 4), text(name), (0o755, 4), (0, 4)),
                message(T.RENAMEAT, len(asked) + 1, (0, 4), text(name), (0, 4), text(new)),
                message(T.UNLINKAT, len(asked) + 2, (0, 4), text(new), (0x200, 4)),
            ]
        victim = core.incarnation
        killer = threading.Timer(rng.uniform(0, 0.06), victim.process.kill)
        killer.start()
        for start_at in range(0, len(asked), 60):
            for data in asked[start_at : start_at + 60]:
                core.submit(data)
            answered = []
            while len(answered) < 60:
                answered += core.answers()
            for data, answer in zip(asked[start_at : start_at + 60], answered, strict=True):
                assert answer[4] != RLERROR, (turn, data, answer)
                assert answer[4] == data[4] + 1
        killer.join()
        assert os.listdir(share) == []
    assert core.incarnation.epoch > 1
    assert core.replayed > 0


def test_a_folder_that_is_not_there_is_refused_in_one_line(start, share):
    stream = start().stand_by("folder", f"directory:path={share}/none")
    status, said = stream.refusal()
    assert status == grpc.StatusCode.FAILED_PRECONDITION
    assert said == f"cannot share {share}/none: No such file or directory; path= names a directory"
