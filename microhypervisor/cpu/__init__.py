"""Processor back ends."""
