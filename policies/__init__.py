"""Which vCPU runs where, and for how long: pure policies, plug-ins of `splitvisor.policies`."""
