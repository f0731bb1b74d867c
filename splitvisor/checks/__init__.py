"""What a run must have left behind, judged from outside: pure functions of files and logs.

None of these looks at how the machine works. They know what the guest storm does by its seed, and
say whether a disk image or a console log can be the result of it. Entropy storm judges itself.
"""
