"""Devices as the core has them: a placement in the guest, a log, and somebody else who serves."""
