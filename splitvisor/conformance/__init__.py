"""What is demanded of a driver, tried out: the contract of drivers/interface.py as checks.

A run is a process of its own (worker.py), and each check one more that is forked from it, so that
a driver that hangs, crashes or leaks is found out and harms nobody. What a driver stores is lost.
"""
