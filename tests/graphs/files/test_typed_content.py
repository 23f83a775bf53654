"""Content of another type than its schema says: one sentence with the place, what is there and what is expected."""

from typing import Annotated, Any

import pytest
from pydantic import Field

from graphs.files.typed_content import FileContent, typed


class Inner(FileContent):
    a: int


class Outer(FileContent):
    rows: list[Inner]
    size: Annotated[int, Field(gt=0, description="a positive number")] = 1
    either: bool | str | None = None
    share: float = 0.5


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "the content is []; expected an object"),
        ({}, "rows is missing"),
        ({"rows": {}}, "rows is {}; expected a list"),
        ({"rows": [{"a": 1}, 5]}, "rows[1] is 5; expected an object"),
        ({"rows": [{"a": 1}, {"a": "1"}]}, "rows[1].a is '1'; expected a whole number"),
        ({"rows": [{"a": True}]}, "rows[0].a is True; expected a whole number"),
        ({"rows": [{}]}, "rows[0].a is missing"),
        ({"rows": [], "size": 0}, "size is 0; expected a positive number"),
        ({"rows": [], "either": [1]}, "either is [1]; expected true or false or text"),
        ({"rows": [], "share": float("nan")}, "share is nan; expected a finite number"),
        ({"rows": [], "share": "x" * 100}, f"share is 'x{'x' * 55}...; expected a number"),
    ],
)
def test_what_does_not_fit_is_one_sentence(content: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match="is") as caught:
        typed(Outer, content)
    assert str(caught.value) == sentence


def test_what_fits_is_kept_and_other_keys_are_passed() -> None:
    assert typed(Outer, {"rows": [{"a": 1, "b": 2}], "share": 1, "more": []}) == Outer(rows=[Inner(a=1)], share=1.0)
