"""Wrong JSON made from right JSON: values replaced, moved, doubled and renamed; tokens and bytes that are none."""

import copy
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hypothesis import strategies as st

Place = tuple[str | int, ...]

RAW: Final = (
    "NaN",
    "-Infinity",
    "1e999",
    "1e39",
    "4e38",
    "1" + "0" * 400,
    "9" * 5000,
    "-0",
    "1E400",
    '"\\ud800"',
    "[" * 200,
)
"""Texts in the place of a value, as no encoder writes them."""
PLAIN: Final[tuple[Any, ...]] = (
    *(None, 0, 1, 5, -1, 1.5, -1e-320, 3e38, True, False, 2**31, 2**32, 10**15, 10**37),
    *(
        "",
        "x",
        "\u2028",
        "\x00",
        "E",
        "0_0_0",
        "-1",
        "9" * 5000,
        "a" * 3000,
        "</script>",
        "../../x",
        "{x",
        "@",
        "__proto__",
    ),
    *([], {}, [[]], ["x"], [1], [None], {"a": 1}, {"": None}),
)
DEEP: Final = tuple(text.encode() for text in ("[" * 1000 + "]" * 1000, "[" * 100_000, '{"a":' * 150 + "1" + "}" * 150))
CORPUS: Final = (*DEEP, b"", b"[]", b"{}", b"null", b"5", b'"x"', b"\xff\xfe{\x00}\x00", b'{"a": "\xff"}', b"9" * 5000)
"""Files that every reader of JSON is tried on."""


def encoded(content: Any) -> bytes:
    """JSON, with the texts of `RAW` in their places."""
    text = json.dumps(content)
    return re.sub(r'"\\ue000(\d+)"', lambda found: RAW[int(found[1])], text).encode()


VALUES: Final = st.one_of(
    st.sampled_from(PLAIN).map(copy.deepcopy),
    st.integers(0, len(RAW) - 1).map(lambda n: f"\ue000{n}"),
    st.floats(),
    st.integers(),
    st.text(max_size=5),
)


ALIKE: Final[dict[type, st.SearchStrategy[Any]]] = {
    bool: st.booleans(),
    int: st.integers(-1, 9) | st.sampled_from([2**31, 2**32 - 1, 2**32, 10**15]),
    float: st.floats(width=32, allow_nan=False, allow_infinity=False),
    str: st.text(max_size=5),
    type(None): st.sampled_from([0, 0.5, "x"]),
}
"""Values of a type: what they break is not the type."""


@st.composite
def hostile_json(draw: st.DrawFn, right: Any) -> bytes:
    """A file that differs from the right one in one to three places, and sometimes in its bytes."""
    content = copy.deepcopy(right)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        content = _changed(draw, content)
    return draw(hostile_bytes(encoded(content)))


@st.composite
def hostile_bytes(draw: st.DrawFn, right: bytes) -> bytes:
    """The bytes, one time in eight cut, broken, marked, joined or encoded otherwise."""
    how = draw(st.integers(0, 47))
    at = draw(st.integers(0, max(0, len(right) - 1))) if how < 3 else 0
    changes = {
        0: lambda: right[:at],
        1: lambda: right[:at] + draw(st.binary(min_size=1, max_size=3)) + right[at + 1 :],
        2: lambda: right[:at] + right[at : at + 20] * 2 + right[at + 20 :],
        3: lambda: b"\xef\xbb\xbf" + right,
        4: lambda: right + right,
        5: lambda: right.decode("utf-8", "replace").encode("utf-16"),
    }
    return changes[how]() if how in changes else right


def places(content: Any, at: Place = ()) -> Iterator[Place]:
    """Every place in the content; of a list the first two and the last."""
    yield at
    if isinstance(content, dict):
        for key in content:
            yield from places(content[key], (*at, key))
    elif isinstance(content, list):
        for number in sorted({0, 1, len(content) - 1} & set(range(len(content)))):
            yield from places(content[number], (*at, number))


def _changed(draw: st.DrawFn, content: Any) -> Any:
    every = list(places(content))
    at = draw(st.sampled_from(every))
    if not at:
        return draw(VALUES)
    inside: Any = _at(content, at[:-1])
    key: Any = at[-1]
    how = draw(st.sampled_from([*("value", "alike") * 3, "none", "moved", "renamed", "twice"]))
    if how == "value":
        inside[key] = draw(VALUES)
    elif how == "alike":
        inside[key] = draw(ALIKE.get(type(inside[key]), st.just(inside[key])))
    elif how == "none":
        del inside[key]
    elif how == "moved":
        inside[key] = copy.deepcopy(_at(content, draw(st.sampled_from(every))))
    elif isinstance(inside, list):
        inside.append(copy.deepcopy(inside[key]))
    elif how == "renamed":
        inside[draw(st.sampled_from(["x", "", "__proto__", f"{key}s"]))] = inside.pop(key)
    return content


def _at(content: Any, at: Sequence[Any]) -> Any:
    for key in at:
        content = content[key]
    return content
