import threading

import pytest

from drivers.raised import one_line, raised


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("7 is\n  odd"), "ValueError: 7 is odd"),
        (SystemExit(3), "SystemExit: 3"),
        (SystemExit(), "SystemExit"),
    ],
)
def test_what_a_driver_raises_is_a_type_and_a_text(error, words):
    assert raised(error) == words


def test_ctrl_c_is_no_drivers_fault_where_there_can_be_one():
    said = []
    thread = threading.Thread(target=lambda: said.append(raised(KeyboardInterrupt())))
    thread.start()
    thread.join()
    assert said == ["KeyboardInterrupt"]
    assert raised(KeyboardInterrupt()) == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("one\r\n\ttwo\x85three\x9b", r"one two three\x9b"),
        ("Größe 5 µs → 日本", "Größe 5 µs → 日本"),
        ("\udc80\u202eabc", r"\udc80\u202eabc"),
    ],
)
def test_a_line_has_nothing_that_a_terminal_obeys(text, line):
    assert one_line(text) == line
