"""Scheduling policies in virtual time: the code that the core runs, without guests."""
