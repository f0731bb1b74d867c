"""The logs and disks of guests that never ran."""

from tests.splitvisor.checks.conftest import image, said, workload

__all__ = ["image", "said", "workload"]
