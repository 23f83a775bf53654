"""beartype that reads a signature once: a function inside another one is made, and decorated, at every call.

jaxtyping hands over functions without a body of their own, so that those of equal name and signature are checked alike.
Without this, half of the tests' time goes into decorating hooks. See `addopts` in pyproject.toml.
"""

from collections.abc import Callable
from inspect import isclass
from typing import Any, get_args, get_origin

from beartype import beartype
from jaxtyping import AbstractArray

_checked: dict[tuple[Any, ...], Callable[..., Any]] = {}


def checked_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """`beartype(function)`, from an earlier call where name, parameters, annotations and defaults were the same."""
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    key = (
        function.__module__,
        function.__qualname__,
        function.__code__,
        *((name, _meaning(annotation)) for name, annotation in function.__annotations__.items()),
        *map(id, defaults),  # kept alive by what is kept, so no other object gets the id
    )
    try:
        known = _checked.get(key)
    except TypeError:  # an annotation that has no hash
        return beartype(function)
    if known is None:
        known = _checked[key] = beartype(function)
    return known


def _meaning(annotation: Any) -> Any:
    """Equal for equal annotations; `Float[Tensor, "rows"]` is another class every time it is written."""
    if isclass(annotation) and issubclass(annotation, AbstractArray):
        return AbstractArray, annotation.dtype, annotation.array_type, annotation.dim_str
    if isinstance(annotation, list):  # the parameters of a Callable
        return list, *map(_meaning, annotation)
    if arguments := get_args(annotation):
        return get_origin(annotation), *map(_meaning, arguments)
    return type(annotation), annotation  # Literal[0] is not Literal[False]
