"""Tokens as they read in running text."""

from collections.abc import Sequence
from functools import lru_cache

from attribution.models.language_model import LanguageModel


class TokenPieces:
    """Tokens of one model, written so that joined they are the text; pairs of tokens are remembered."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._remembered = lru_cache(maxsize=100_000)(self._piece)

    def _piece(self, before: int | None, token: int) -> str:
        """A token as it reads after another one: its space included, where it has one."""
        tokenizer = self._model.tokenizer
        if tokenizer is None or before is None:
            return f" {token}" if tokenizer is None else self._model.token_text(token)
        first, both = tokenizer.decode([before]), tokenizer.decode([before, token])
        return both[len(first) :] if both.startswith(first) else self._model.token_text(token)

    def of(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Each token of a stretch of text."""
        return tuple(self._remembered(before, token) for before, token in zip((None, *ids), ids, strict=False))
