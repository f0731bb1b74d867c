from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.cli.run import name_of
from splitvisor.machine import NAME_LIMIT, check_name


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("build/guests/hello", "hello"),
        ("My Kernel (v2).elf", "my-kernel-v2-"),
        ("__.elf", "guest"),
        ("x" * 100, "x" * (NAME_LIMIT - 3)),
    ],
)
def test_a_guest_is_named_after_its_image(image, name):
    assert name_of(Path(image)) == name


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_any_file_gives_a_name_that_is_allowed_with_a_number_behind_it(text):
    check_name("guest", name_of(Path(text)) + "-99")
