"""`python -m tests.sensitivity`: write the table in docs/sensitivity.md anew."""

from tests.sensitivity.table import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE} is written")
