"""RASP programs and what they compute, variable by variable: the truth that compiled circuits are held against.

    value(v, j) = f(values of v's inputs at j)                                 Map, Pairwise, Linear, Count
    value(v, j) = mean of values(i) over positions i with predicate(key(i), query(j))                Average
    value(v, j) = 1 / (1 + number of positions i with predicate(key(i), query(j)))                   Share

A variable is what tracr writes into one part of the residual stream by one layer, so a selector's width is two of them:
the share that attention leaves to BOS, and the count an MLP makes of it. None is "no value" and stays none.
Source: Weiss et al. 2021 (RASP); Lindner et al. 2023 (tracr).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final


class Mixture(NamedTuple):
    """A categorical average over unequal values: no value of the program, and equal to none of them."""

    parts: tuple[tuple[str, float], ...]


Value = str | int | float | bool | tuple[int, ...] | Mixture | None


class Place(NamedTuple):
    """A variable at a position; the first token, after BOS, is at position 0."""

    variable: str
    position: int


Read = Callable[["Variable", int], Value]
"""The value of a variable at a position."""


@dataclass(frozen=True, eq=False)
class Variable:
    """A sequence of values; subclasses say how one of them follows from the inputs. The encoding is one-hot unless
    `numerical`: then a value is a size along one direction."""

    name: str
    numerical: bool = False
    attends: ClassVar[bool] = False

    @property
    def inputs(self) -> tuple["Variable", ...]:
        """The variables it reads, each once."""
        return ()

    def at(self, position: int, length: int, read: Read) -> Value:
        """Its value at a position of a prompt of this length."""
        raise ValueError(f"{self.name!r} is given, not computed.")


@final
@dataclass(frozen=True, eq=False)
class Source(Variable):
    """The tokens or the indices."""


TOKENS, INDICES = Source("tokens"), Source("indices")


@final
@dataclass(frozen=True, eq=False)
class Map(Variable):
    """f of one variable at the same position."""

    f: Callable[[Any], Value] = lambda value: value
    of: Variable = TOKENS

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return (self.of,)

    def at(self, position: int, length: int, read: Read) -> Value:
        del length
        return _applied(self.f, read(self.of, position))


@final
@dataclass(frozen=True, eq=False)
class Pairwise(Variable):
    """f of two variables at the same position."""

    f: Callable[[Any, Any], Value] = lambda first, second: (first, second)
    first: Variable = TOKENS
    second: Variable = INDICES

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return (self.first, self.second)

    def at(self, position: int, length: int, read: Read) -> Value:
        del length
        return _applied(self.f, read(self.first, position), read(self.second, position))


@final
@dataclass(frozen=True, eq=False)
class Linear(Variable):
    """first_factor * first + second_factor * second; all numerical."""

    first: Variable = TOKENS
    second: Variable = TOKENS
    first_factor: float = 1.0
    second_factor: float = 1.0

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return (self.first, self.second)

    def at(self, position: int, length: int, read: Read) -> Value:
        del length
        factors = (self.first_factor, self.second_factor)
        return _applied(lambda a, b: factors[0] * a + factors[1] * b, *(read(v, position) for v in self.inputs))


@dataclass(frozen=True, eq=False)
class _Selecting(Variable):
    """What attention makes: query j selects the positions i where predicate(key(i), query(j))."""

    attends: ClassVar[bool] = True
    keys: Variable = TOKENS
    queries: Variable = TOKENS
    predicate: Callable[[Any, Any], bool] = lambda key, query: key == query

    def _selected(self, position: int, length: int, read: Read) -> list[int]:
        query = read(self.queries, position)
        keys = [read(self.keys, i) for i in range(length)]
        if query is None:
            return []
        return [i for i, key in enumerate(keys) if key is not None and _applied(self.predicate, key, query)]


@final
@dataclass(frozen=True, eq=False)
class Average(_Selecting):
    """The mean of `values` over the selected positions: 0 (numerical) or None (categorical) where there are none."""

    values: Variable = TOKENS

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return tuple(dict.fromkeys((self.keys, self.queries, self.values)))

    def at(self, position: int, length: int, read: Read) -> Value:
        chosen = [read(self.values, i) for i in self._selected(position, length, read)]
        if self.numerical:
            return sum(float(v) for v in chosen if isinstance(v, int | float)) / max(len(chosen), 1)
        if len(set(chosen)) <= 1:
            return chosen[0] if chosen else None
        return Mixture(tuple(sorted((str(v), chosen.count(v) / len(chosen)) for v in set(chosen))))


@final
@dataclass(frozen=True, eq=False)
class Share(_Selecting):
    """1 / (1 + width): what attention leaves to BOS."""

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return tuple(dict.fromkeys((self.keys, self.queries)))

    def at(self, position: int, length: int, read: Read) -> Value:
        return 1 / (1 + len(self._selected(position, length, read)))


@final
@dataclass(frozen=True, eq=False)
class Count(Variable):
    """A selector's width, from its share."""

    share: Variable = TOKENS

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return (self.share,)

    def at(self, position: int, length: int, read: Read) -> Value:
        del length
        return _applied(lambda share: round(1 / share - 1), read(self.share, position))


def width(name: str, keys: Variable, queries: Variable, predicate: Callable[[Any, Any], bool]) -> Count:
    """How many positions a query selects."""
    return Count(name, share=Share(f"{name} share", numerical=True, keys=keys, queries=queries, predicate=predicate))


def variables(output: Variable) -> tuple[Variable, ...]:
    """All variables of a program, inputs first."""
    found: dict[Variable, None] = {}

    def visit(variable: Variable) -> None:
        for read in variable.inputs:
            visit(read)
        found.setdefault(variable)

    visit(output)
    names = [v.name for v in found]
    if len(set(names)) < len(names):
        raise ValueError(f"Two variables of {output.name!r} have one name: {', '.join(sorted(names))}.")
    return tuple(found)


def run_program(
    output: Variable, tokens: Sequence[Value], do: Mapping[Place, Value] | None = None
) -> dict[Place, Value]:
    """Every variable's value at every position; `do` sets some, and what reads them follows."""
    values: dict[Place, Value] = {}
    for variable in variables(output):
        for position in range(len(tokens)):
            place = Place(variable.name, position)
            if do is not None and place in do:
                values[place] = do[place]
            elif isinstance(variable, Source):
                values[place] = tokens[position] if variable is TOKENS else position
            else:
                values[place] = variable.at(position, len(tokens), lambda v, i: values[Place(v.name, i)])
    return values


def same_value(first: Value, second: Value) -> bool:
    """Equality, up to rounding of fractions; True is not 1 and False is not 0."""
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) < 1e-9
    return type(first) is type(second) and first == second


def _applied(f: Callable[..., Any], *values: Value) -> Any:
    if any(isinstance(v, Mixture) for v in values):
        raise ValueError("A mixture of values is read by another variable; the program says nothing about that.")
    return None if any(v is None for v in values) else f(*values)
