"""Where a guest's random numbers come from."""

import re


def sample(splitvisor, guest, source):
    status, output, errors = splitvisor(
        *("run", guest("hello"), "--cpu", "emulated", "--entropy", source)
    )
    assert (status, errors) == (0, "")
    return re.search(r"hello: entropy ([0-9a-f]{64})\n", output)[1]


def test_a_seeded_guest_is_the_same_each_time_and_others_are_not(splitvisor, guest):
    first = sample(splitvisor, guest, "seeded:seed=7")
    assert sample(splitvisor, guest, "limit:bps=1M,child=(seeded:seed=7)") == first
    assert sample(splitvisor, guest, "seeded:seed=8") != first
    assert sample(splitvisor, guest, "system") != sample(splitvisor, guest, "system")


def test_a_limit_is_reached_in_several_requests(splitvisor, guest):
    assert len(sample(splitvisor, guest, "limit:bps=200,burst=50ms,child=(system)")) == 64
