"""Shapes are checked in functions that are made anew at every call, as hooks are."""

from collections.abc import Callable

import pytest
from checked_once import checked_once
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor, zeros


def made(kind: type[Tensor], by: float = 2.0) -> Callable[[Tensor], Tensor]:
    @jaxtyped(typechecker=checked_once)
    def scaled(x: Float[kind, "rows columns"], factor: float = by) -> Float[kind, "rows columns"]:  # pyright: ignore
        return x.T if factor == 0 else x * factor

    return scaled


def test_every_function_of_one_definition_is_checked_and_keeps_its_own_body() -> None:
    assert [float(made(Tensor, by)(zeros(2, 3) + 1).sum()) for by in (2.0, 3.0)] == [12.0, 18.0]
    for _ in range(2):
        with pytest.raises(TypeCheckError, match="rows columns"):
            made(Tensor)(zeros(3))
        with pytest.raises(TypeCheckError, match="return value"):
            made(Tensor, 0)(zeros(2, 3))


def test_other_annotations_are_checked_as_such() -> None:
    class Own(Tensor):
        """Another type of the same name and shape."""

    made(Tensor)(zeros(2, 3))
    with pytest.raises(TypeCheckError, match="rows columns"):
        made(Own)(zeros(2, 3))
    made(Own)(zeros(2, 3).as_subclass(Own))


def test_a_signature_is_read_once() -> None:
    def body_less() -> Callable[..., None]:
        def function(x: Float[Tensor, "rows"], *, by: int = 1) -> None: ...

        return function

    assert checked_once(body_less()) is checked_once(body_less())
