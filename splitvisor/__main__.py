"""`python -m splitvisor`: the command `splitvisor` of the interpreter that runs already."""

import sys

from splitvisor.cli.main import main

sys.exit(main())
