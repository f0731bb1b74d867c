"""Imported by every Python that starts with this folder on its path: plants the bug that is asked
for by the environment, in those processes that import what it changes.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))


class Planter:
    """Finds what others find, and has the bug planted as soon as it is imported."""

    def __init__(self, bug, modules):
        self.bug = bug
        self.modules = modules

    def find_spec(self, name, path=None, target=None):
        if name not in self.modules:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                self.plant(module)

            spec.loader.exec_module = exec_module
        return spec

    def plant(self, module):
        if ROOT not in sys.path:
            sys.path.append(ROOT)
        from tests.sensitivity.bugs import find
        from tests.sensitivity.plant import plant

        plant(find(self.bug), module)


def run_the_next():
    """A sitecustomize that this one hides."""
    spec = PathFinder.find_spec("sitecustomize", [p for p in sys.path if p != HERE])
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


if "SPLITVISOR_PLANT" in os.environ:
    bug, _, modules = os.environ["SPLITVISOR_PLANT"].partition(":")
    sys.meta_path.insert(0, Planter(bug, modules.split(",")))
run_the_next()
