"""What goes wrong by the user's hand, told in one line.

The command line prints the line after `splitvisor: ` and exits with 2; nobody sees a traceback
for a mistake of theirs. Any other exception is a bug of ours.
"""


class UserError(Exception):
    """One line that names the thing and the cure."""
