"""For tests of drivers: the whole contract of a kind in one line.

def test_it_keeps_the_contract(tmp_path):
    (tmp_path / "a.img").write_bytes(bytes(8 << 20))
    assert_conforms("block", f"my_disk:path={tmp_path}/a.img")
"""

from collections.abc import Mapping

from splitvisor.conformance.contract import OPENS, Outcome, Result
from splitvisor.conformance.run import run


def assert_conforms(kind: str, spec: str, known: Mapping[str, str] | None = None) -> list[Result]:
    """AssertionError with every check that the driver fails, what is demanded and what it did.

    What it stores is lost. A driver that does not open, or blocks, fails whatever is known, for the
    rest is not tried. Checks that are `known` to fail, by name, have to fail for the reason
    that has these words in it; so nobody forgets them there. The results are returned.
    """
    expected = dict(known or {})
    results = list(run(kind, spec))
    problems = []
    for result in results:
        failed = result.outcome is Outcome.FAILED
        words = expected.pop(result.check, None)
        if failed and (words is None or result.blocked):
            problems.append(f"{result.check}: {result.reason}\n    demanded: {result.demand}")
        elif words is not None and not (failed and words in result.reason):
            found = result.reason or "it did not"
            problems.append(f"{result.check}: is known to fail with {words!r}: {found}")
    if not any(result.blocked or result.check == OPENS for result in results):
        problems += [f"{name}: there is no such check" for name in expected]
    __tracebackhide__ = True
    if problems:
        raise AssertionError(f"{kind} driver {spec}:\n" + "\n".join(problems))
    return results
