"""What the core's process asks of the host."""

import resource

from tests.microhypervisor.core import Core


def test_it_may_have_as_many_descriptors_as_the_host_lets_it(tmp_path):
    """A device with a standby takes some seven."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        core = Core(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        assert resource.prlimit(core.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        core.close()
