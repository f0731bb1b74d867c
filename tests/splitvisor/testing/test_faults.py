"""Words for faults."""

import pytest

from protos import faults_pb2 as f
from splitvisor.errors import UserError
from splitvisor.testing.faults import fault


def test_words_and_amounts():
    made = fault("slow", at="mid-batch", device="web/disk0", by="20ms", nth=3, times=0)
    assert made == f.Fault(
        action=f.SLOW,
        point=f.MID_BATCH,
        guest="web",
        device="disk0",
        nth=3,
        delay_us=20_000,
    )
    assert fault("leak", size="2M").bytes == 2 << 20
    assert fault("garble", how="twice").garble == f.TWICE
    assert fault("kill", sector=0, every_incarnation=True) == f.Fault(
        point=f.BEFORE_EXECUTE, times=1, only_sector=True, every_incarnation=True
    )


def test_without_a_point_it_acts_where_the_command_would():
    assert fault("kill").point == f.ANYWHERE
    assert fault("kill", device="disk0").point == f.BEFORE_EXECUTE
    assert fault("hang").point == f.BEFORE_EXECUTE
    assert fault("drop").point == f.BEFORE_REPLY


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"action": "kil"}, "no fault 'kil', did you mean 'kill'?"),
        ({"action": "kill", "at": "mid_batch"}, "no point 'mid_batch', did you mean 'mid-batch'?"),
        ({"action": "garble", "how": "twise"}, "no way to garble 'twise'"),
        ({"action": "slow", "by": "20"}, "'20' is not a duration"),
    ],
)
def test_a_mistake_is_one_line(words, problem):
    with pytest.raises(UserError, match=problem.replace("?", r"\?")):
        fault(**words)
