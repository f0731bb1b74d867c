import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.interface import SpecError
from drivers.spec import Spec, parse

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
VALUES = st.none() | st.text()


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("file", {}),
        ("file:readonly", {"readonly": None}),
        ("file:path=disk.img,readonly", {"path": "disk.img", "readonly": None}),
        ("file:path=", {"path": ""}),
        ('file:path="a,b",readonly', {"path": "a,b", "readonly": None}),
        (r"file:path=a\,b\"c\\d", {"path": 'a,b"c\\d'}),
        ("file:path=a=b:c", {"path": "a=b:c"}),
        ("file:path=disk(1).img", {"path": "disk(1).img"}),
        ("file:child=(x:p=(y),q),ms=5", {"child": "x:p=(y),q", "ms": "5"}),
        (r'file:child=(x:p=")",q=\))', {"child": r'x:p=")",q=\)'}),
        ('file:path="(a)"', {"path": "(a)"}),
    ],
)
def test_texts_and_their_options(text, options):
    assert parse(text) == Spec("file", options)


@pytest.mark.parametrize(
    ("text", "problem", "at"),
    [
        ("", "a driver's name", 1),
        ("=x", "a driver's name", 1),
        ("file path=x", "':' must follow the driver 'file'", 5),
        ("file:", "an option's name after ':'", 6),
        ("file:path=x,", "an option's name after ','", 13),
        ("file:path=x,,ro", "an option's name", 13),
        ("file:path x", "',' must follow the option 'path'", 10),
        ("file:path=x,path=y", "option 'path' is given twice", 13),
        ('file:path="x', "double quote is not closed", 11),
        ("file:path=x\\", "nothing follows the backslash", 12),
        ("file:child=(x:(y)", "parenthesis is not closed", 12),
        ("file:child=(x)y", "',' must follow the option 'child'", 15),
    ],
)
def test_errors_name_the_problem_and_its_place(text, problem, at):
    with pytest.raises(SpecError) as raised:
        parse(text)
    assert problem in str(raised.value)
    assert str(raised.value).endswith(f"(at character {at})")


@given(NAMES, st.dictionaries(NAMES, VALUES))
def test_a_spec_is_what_its_text_parses_to(driver, options):
    spec = Spec(driver, options)
    assert parse(str(spec)) == spec


@given(NAMES, st.dictionaries(NAMES, VALUES))
def test_a_spec_can_be_nested_in_another(driver, options):
    inner = Spec(driver, options)
    assert parse(f"outer:child=({inner}),last").options == {"child": str(inner), "last": None}


@given(st.text())
def test_any_text_is_a_spec_or_a_spec_error(text):
    with contextlib.suppress(SpecError):
        assert parse(text).driver == re.split(r"[^A-Za-z0-9_-]", text)[0]
