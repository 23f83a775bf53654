"""The programs: each reads a prompt of `length` tokens, and its answer is its output variable at the last position."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.programs.rasp import (
    INDICES,
    TOKENS,
    Average,
    Linear,
    Map,
    Pairwise,
    Value,
    Variable,
    width,
)


@dataclass(frozen=True)
class Program:
    """A program and the prompts it is meant for; `takes` says of a contrast pair's tokens whether it is one of them."""

    name: str
    says: str
    output: Variable
    alphabet: tuple[Value, ...]
    length: int
    takes: Callable[[Sequence[Value], Sequence[Value]], bool] = lambda _clean, _patch: True


def _fraction(name: str, token: str) -> Variable:
    is_token = Map(f"is {token}", numerical=True, f=lambda t: float(t == token))
    return Average(name, numerical=True, keys=INDICES, queries=INDICES, predicate=lambda k, q: k <= q, values=is_token)


def _reverse() -> Variable:
    length = width("length", TOKENS, TOKENS, lambda _key, _query: True)
    opposite = Pairwise("opposite", f=lambda n, i: n - 1 - i, first=length, second=INDICES)
    return Average("reverse", keys=INDICES, queries=opposite, values=TOKENS)


def _sort() -> Variable:
    place = width("place", TOKENS, TOKENS, lambda key, query: key < query)
    return Average("sort", keys=place, queries=INDICES, values=TOKENS)


def _all_new_are_unique(clean: Sequence[Value], patch: Sequence[Value]) -> bool:
    """Whatever subset of the tokens is patched, no two tokens of the prompt are equal."""
    new = [p for c, p in zip(clean, patch, strict=True) if c != p]
    return len({*clean, *new}) == len(clean) + len(new)


def _pair_balance() -> Variable:
    opens, closes = _fraction("opens", "("), _fraction("closes", ")")
    return Linear("balance", numerical=True, first=opens, second=closes, first_factor=1.0, second_factor=-1.0)


def _dyck() -> Variable:
    balance = _pair_balance()
    negative = Map("negative", numerical=True, f=lambda b: float(b < -1e-9), of=balance)
    ever_negative = Average(
        "ever negative", numerical=True, keys=INDICES, queries=INDICES, predicate=lambda _k, _q: True, values=negative
    )
    never = Map("never negative", f=lambda share: share < 1e-9, of=ever_negative)
    closed = Map("closed", f=lambda b: abs(b) < 1e-9, of=balance)
    return Pairwise("balanced", f=lambda a, b: a and b, first=closed, second=never)


def _most_frequent() -> Variable:
    count = width("count", TOKENS, TOKENS, lambda key, query: key == query)
    strength = Pairwise("strength", f=lambda n, i: 10 * n - i, first=count, second=INDICES)
    rank = width("rank", strength, strength, lambda key, query: key > query)
    first = Map("first", f=lambda _index: 0, of=INDICES)
    return Average("most frequent", keys=rank, queries=first, values=TOKENS)


def _induction() -> Variable:
    previous = Average("previous", keys=INDICES, queries=INDICES, predicate=lambda k, q: k == q - 1, values=TOKENS)
    return Average("next", keys=previous, queries=TOKENS, values=TOKENS)


def _contains() -> Variable:
    return Map("contains", f=lambda share: share > 1e-9, of=_fraction("share of x", "x"))


_LETTERS: Final = ("a", "b", "c")
PROGRAMS: Final[dict[str, Program]] = {
    program.name: program
    for program in (
        Program("reverse", "the first token", _reverse(), _LETTERS, 5),
        Program("sort", "the largest token", _sort(), (1, 2, 3, 4, 5, 6, 7), 4, _all_new_are_unique),
        Program(
            "histogram",
            "how often the last token occurs",
            width("count", TOKENS, TOKENS, lambda key, query: key == query),
            _LETTERS,
            5,
        ),
        Program("frac_prevs", "the share of x", _fraction("share of x", "x"), ("x", "y", "z"), 5),
        Program("contains", "is there an x?", _contains(), ("x", "y", "z"), 5),
        Program("pair_balance", "share of ( minus share of )", _pair_balance(), ("(", ")", "."), 5),
        Program("dyck", "are the brackets balanced?", _dyck(), ("(", ")"), 6),
        Program("most_frequent", "the most frequent token, the first of equals", _most_frequent(), _LETTERS, 5),
        Program("induction", "what followed the last token before", _induction(), ("a", "b", "c", "d"), 6),
    )
}
