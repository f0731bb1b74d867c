"""CPU back ends: what runs guest code for the core.

Each is found by its entry point in the group `splitvisor.cpus` and does what
`microhypervisor.cpu.protocol` says. They are part of what must be trusted, but only the one in use.
"""
