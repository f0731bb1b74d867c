"""What checkers say when something is wrong, as regular expressions; a bug may have several."""

MISSING = r"requests of queue \d are out|requests are in flight|accesses are out"
DATA = r"has what nobody wrote there|stale, sector|the disk: sector|has data of|identity of"
POWER = r"after a power cut: sector \d+ has"
STATUS = r"status 0x\w+, not"
LENGTH = r"\d+ bytes were written|outside of its buffer"
ENTROPY = r"was given before|is not from the source"
OUTPUT = r"where it belongs|completed, and not put out|more were put out"
INPUT = r"input: "
REGISTERS = r"read of scratch"
STATE = f"{OUTPUT}|{REGISTERS}|{INPUT}"
ANYTHING = f"{DATA}|{POWER}|{STATUS}|{LENGTH}|{ENTROPY}|{STATE}"  # of what a guest can see
EARLY = r"(something new is submitted|it is said to be replayed) while slot \d+ is not done again"
