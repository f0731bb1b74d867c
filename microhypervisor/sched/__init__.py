"""Which vCPU runs on which pCPU, and for how long."""
