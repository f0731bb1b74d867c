import time

from drivers.interface import Keep
from drivers.registry import make


def test_it_is_the_hosts_time(tmp_path):
    clock = make("clock", "system", Keep(tmp_path / "k"))
    before = time.time()
    assert before <= clock.now() <= time.time()
    clock.close()
