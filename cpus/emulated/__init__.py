"""Unicorn runs the guest, where there is no KVM or runs must be reproducible."""
