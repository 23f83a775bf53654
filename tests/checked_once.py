"""Shapes are checked while tests run, at a cost that is bounded: without this, checks take most of the tests' time.

`checked_once` is beartype that reads a signature once: a function inside another one is made, and decorated, at every
call. jaxtyping hands over functions without a body of their own, so that those of equal name and signature are checked
alike. See `addopts` in pyproject.toml.

`checked_at_first` has jaxtyping check the first calls of a function in each test, and then some of the others.
"""

from collections.abc import Callable
from functools import wraps
from inspect import isclass
from types import CodeType, FunctionType
from typing import Any, Final, get_args, get_origin

from beartype import beartype
from jaxtyping import AbstractArray

FIRST: Final = 20
"""Calls of a function that are all checked, in each test."""
ONE_IN: Final = 20
"""Of the calls that follow, every so many-th is checked."""

_calls: dict[CodeType, int] = {}
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


def checked_at_first(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """`jaxtyped`, whose functions check their first `FIRST` calls since `count_anew`, then every `ONE_IN`-th."""

    def decorator(*, typechecker: Callable[..., Any]) -> Callable[[Any], Any]:
        whole = jaxtyped(typechecker=typechecker)
        return lambda thing: _counting(thing, whole) if isinstance(thing, FunctionType) else whole(thing)

    return decorator


def count_anew() -> None:
    """The calls that follow are first ones."""
    _calls.clear()


def _counting(function: FunctionType, whole: Callable[[Any], Any]) -> Callable[..., Any]:
    code, checked = function.__code__, list[Callable[..., Any]]()

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        number = _calls[code] = _calls.get(code, 0) + 1
        if number > FIRST and number % ONE_IN:
            return function(*arguments, **keywords)
        if not checked:
            checked.append(whole(function))
        return checked[0](*arguments, **keywords)

    return call
