"""Figures, each beside what it is to be compared with, in one run."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # an echo server that stops is no news
