"""Shapes are checked in the product, also in functions that are made anew at every call, as hooks are."""

from collections.abc import Callable

import pytest
from checked_once import FIRST, ONE_IN, checked_at_first, checked_once, count_anew
from jaxtyping import Float, TypeCheckError
from jaxtyping._decorator import jaxtyped
from torch import Tensor, zeros

from attribution.masks.hard_concrete import chance_open


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


def test_the_first_calls_are_checked_in_each_test_and_some_of_the_others() -> None:
    @checked_at_first(jaxtyped)(typechecker=checked_once)
    def total(x: Float[Tensor, "rows columns"]) -> Float[Tensor, ""]:
        return x.sum()

    def refused(calls: int) -> int:
        count = 0
        for _ in range(calls):
            try:
                total(zeros(3))
            except TypeCheckError:
                count += 1
        return count

    assert refused(FIRST) == FIRST
    assert refused(3 * ONE_IN) == 3
    count_anew()
    assert refused(FIRST) == FIRST


def test_shapes_are_checked_in_the_product() -> None:
    with pytest.raises(TypeCheckError, match="node"):
        chance_open(zeros(2, 3))
