"""Stretches of text by pattern: the tokens inside quotes, inside a question, or inside the matches of a regex."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from attribution.models.language_model import LanguageModel

NAMED: Final[Mapping[str, str]] = {
    "quotes": r'"([^"]+)"|“([^”]+)”|«([^»]+)»',
    "brackets": r"\(([^()]+)\)|\[([^\[\]]+)\]",
    "question": r"[^.!?]*\?",
    "exclamation": r"[^.!?]*!",
    "number": r"\d+",
}
"""Contexts with a name, as regular expressions. A question is a sentence that ends in a question mark."""


@dataclass(frozen=True)
class Spans:
    """A pattern. Inside are the groups of its matches, or the whole matches where it has no group."""

    name: str
    pattern: re.Pattern[str]

    def inside(self, model: LanguageModel, ids: Sequence[int]) -> list[bool]:
        """For each token whether any of its characters, spaces around it apart, lies inside."""
        texts = model.token_texts(ids)
        marked = self._marked("".join(texts))
        found, start = [], 0
        for text in texts:
            visible = text.strip() or text
            first = start + text.index(visible)
            found.append(any(marked[first : first + len(visible)]))
            start += len(text)
        return found

    def _marked(self, text: str) -> bytearray:
        marked = bytearray(len(text))
        for match in self.pattern.finditer(text):
            for group in range(1, self.pattern.groups + 1) if self.pattern.groups else (0,):
                first, end = match.span(group)
                marked[max(first, 0) : max(end, 0)] = b"\1" * (end - first)
        return marked


def spans_of(text: str) -> Spans:
    """The context of this name, else the regular expression.

    Raises:
        ValueError: it is no regular expression, or one that matches the empty text.
    """
    try:
        pattern = re.compile(NAMED.get(text, text), re.DOTALL)
    except re.error as error:
        raise ValueError(f"{text!r} is neither a regular expression ({error}) nor one of {', '.join(NAMED)}.") from None
    if pattern.fullmatch(""):
        raise ValueError(f"{text!r} matches the empty text, so it is inside everything. Give a pattern of characters.")
    return Spans(text, pattern)


def named_spans() -> tuple[Spans, ...]:
    """Every context with a name."""
    return tuple(map(spans_of, NAMED))
