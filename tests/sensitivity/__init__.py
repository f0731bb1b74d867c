"""Bugs planted on purpose, one at a time, to see that the checkers of the suite catch each of them.

A checker that has never failed proves little. `bugs/` has the mistakes that recovery could be made
with, as edits of production code; `checkers.py` has who is to notice; docs/sensitivity.md lists
both. Production code knows nothing of it.
"""
