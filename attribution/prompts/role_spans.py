"""Roles of a real prompt's tokens from spans of its text: `{"subject": "keys"}` or `{"subject": [4, 8]}`.

a span of one token      the role
of several               role_1, role_2, ..., and the role itself for the last: prompts that need more tokens for it
                         meet others there
a token in no span       its own text; with a number where that occurs again
BOS, the last token      bos, end (if no span has it)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from graphs.short_repr import in_brief

LAST: Final = "end"


def roles_of_spans(
    spans: Mapping[str, Any], pieces: Sequence[str], *, opened: bool, shown: Sequence[str] | None = None
) -> tuple[str, ...]:
    """A name for each token.

    Args:
        spans: for each role a part of the text that occurs once, or [start, end) in characters of it.
        pieces: the texts of the tokens, joined the prompt; the first is BOS if `opened`.
        shown: the tokens as a person reads them, which name those in no span; by default `pieces`.

    Raises:
        ValueError: a span that is not in the text, occurs twice, or shares a token with another.
    """
    own, read = list(pieces[int(opened) :]), (shown or pieces)[int(opened) :]
    text, starts = "".join(own), [0, *accumulate(map(len, own))]
    names: list[str | None] = [None] * len(own)
    role_of: dict[int, str] = {}
    for role, span in spans.items():
        start, end = _place(role, span, text)
        inside = [n for n, a in enumerate(starts[:-1]) if a < end and start < starts[n + 1]]
        for number, n in enumerate(inside, start=1):
            if role_of.setdefault(n, role) != role:
                raise ValueError(f"the roles {role_of[n]!r} and {role!r} share the token {read[n]!r}.")
            names[n] = role if number == len(inside) else f"{role}_{number}"
    if names and names[-1] is None:
        names[-1] = LAST
    return (*(["bos"] if opened else []), *_filled(names, read))


def _place(role: str, span: Any, text: str) -> tuple[int, int]:
    if isinstance(span, str):
        found = text.count(span) if span.strip() else 0
        if found != 1:
            raise ValueError(
                f"the span {in_brief(span)} of role {role!r} occurs {found} times in {text!r}; it must occur once. "
                "Write more of the text, or give [start, end] in characters."
            )
        start = text.index(span) + len(span) - len(span.lstrip())
        return start, text.index(span) + len(span.rstrip())
    if not (isinstance(span, list | tuple) and len(span) == 2 and all(type(n) is int for n in span)):
        raise ValueError(
            f"the span of role {role!r} must be a part of the text or [start, end]; found {in_brief(span)}."
        )
    if not 0 <= span[0] < span[1] <= len(text):
        raise ValueError(f"the span {list(span)} of role {role!r} is not in the text of {len(text)} characters.")
    return span[0], span[1]


def _filled(names: Sequence[str | None], pieces: Sequence[str]) -> list[str]:
    """The names, with tokens in no span named by their text; no name occurs twice, and none is a number."""
    seen, taken, found = Counter[str](), {name for name in names if name is not None}, list[str]()
    for name, piece in zip(names, pieces, strict=True):
        if name is None:
            word = piece.strip() or "space"
            word = f"word {word}" if word.lstrip("-").isdecimal() or word in (*taken, "bos", "everywhere") else word
            seen[word] += 1
            name = word if seen[word] == 1 else f"{word}_{seen[word]}"
        found.append(name)
    return found
