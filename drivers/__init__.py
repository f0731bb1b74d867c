"""Drivers: what reads and writes the real things, one small class each."""
