"""What a driver's own code raises, in one line that any terminal can show."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


def raised(error: BaseException) -> str:
    """Its type and text; "" for one that is no fault of a driver's: Ctrl-C, which Python raises in
    whatever the main thread does then, and nowhere else.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if isinstance(error, KeyboardInterrupt) and in_main:
        return ""
    text = one_line(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def of_option(name: str) -> Iterator[None]:
    """Note on whatever is raised which driver of a stack it came from."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"option {name!r}")
        raise


def one_line(text: str) -> str:
    """The text in one line, as `harmless`."""
    return harmless(" ".join(text.split()))


def harmless(text: str) -> str:
    """The text, with escapes such as `\\x1b` for what a terminal would obey, but for new lines."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    plain = character == "\n" or character.isprintable()
    return character if plain else ascii(character)[1:-1]
