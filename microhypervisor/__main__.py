"""`python -m microhypervisor`: the core in a process of its own, which control/ makes of it."""

import sys

from microhypervisor.plugins import load

if __name__ == "__main__":
    sys.exit(load("splitvisor.control", "process")())
