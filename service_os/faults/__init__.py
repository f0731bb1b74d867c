"""Faults on purpose, at named points of a device's life; loaded only with --failpoints."""
