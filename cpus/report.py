"""The text that tells a person why a vCPU stopped: the reason, registers, the instruction."""

from collections.abc import Mapping


def render(
    index: int, reason: str, registers: Mapping[str, int], segments: Mapping[str, str], code: bytes
) -> str:
    """Some lines of text; `registers` are printed three a line in their order."""
    cells = [f"{name:>9} {value:016x}" for name, value in registers.items()]
    lines = ["".join(cells[start : start + 3]) for start in range(0, len(cells), 3)]
    lines += [f"{name:>9} {text}" for name, text in segments.items()]
    instruction = code.hex(" ") or "not readable"
    return "\n".join([f"vCPU {index}: {reason}", *lines, f"     code {instruction}"])
