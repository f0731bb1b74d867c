"""How figures are printed: what, how much, and whether a target holds."""


def row(what: str, value: str, remark: str = "") -> None:
    """One line of the report."""
    print(f"{what:<46}{value:>14}  {remark}".rstrip(), flush=True)


def verdict(held: bool, limit: str) -> str:
    """Whether a target holds, and which."""
    return f"{'holds' if held else 'MISSES'}: {limit}"
