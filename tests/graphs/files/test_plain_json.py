"""JSON from elsewhere that is none, or that would break later code: refused in words."""

import json

import pytest

from graphs.files.plain_json import DEEPEST, parse_json


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 1000 + "]" * 1000, "nested more than 100 levels"),
        ("[" * 100_000, "nested more than 100 levels"),
        ('{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), "nested more than 100 levels"),
        ("[NaN]", "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "too large for a float of 32 bits"),
        ("[4e38]", "4e\\+38 is too large for a float of 32 bits"),
        ("1" + "0" * 400, "more than 38 digits"),
        ("1" * 5000, "a number is too long"),
        ('{"\\ud800": 1}', "half of a surrogate pair"),
        ('["a \\udc00"]', "half of a surrogate pair"),
        (b'["\xff"]', "not UTF-8"),
        ('{"a": {"clean": 1, "b": 2, "clean": 3}}', "the key 'clean' stands twice"),
        ("{", "Expecting property name"),
        ("", "Expecting value: column 1"),
        ("[1,\n2 3]", "delimiter: line 2 column 3"),
        ("[1 2]", "delimiter: column 4"),
    ],
)
def test_json_that_would_break_later_code_is_refused_with_its_reason(text: str | bytes, fault: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=fault):
        parse_json(text)


def test_json_within_the_limits_is_what_the_library_makes_of_it() -> None:
    text = '{"a": [1, -2.5, "\\ud83d\\ude00", null, true], "b": {"c": 9223372036854775807}}'
    assert parse_json(text) == json.loads(text)
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)
