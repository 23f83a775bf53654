"""How a tokenizer has a text written: as it stands, or in lower case where it knows no capitals; with marks apart.

A word that a tokenizer does not know becomes its unknown token, or vanishes: neither is known here.
"""

import re
from typing import Final, final

from attribution.models.language_model import LanguageModel
from attribution.models.tokenising import decoded_text, following_ids, text_ids
from circuits.tasks.any_model.words import NAMES

_CAPITALISED: Final = ("The", "It", "He", "She", "They", "In", "When", "Then", *NAMES)
_MARK: Final = re.compile(r"\s?([.,:;()\"])")


@final
class Wording:
    """The way of writing that a model's tokenizer knows.

    Raises:
        ValueError: the model has no tokenizer.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._tokenizer, self._unknown = model.tokenizer, model.unknown_id
        self._ids: dict[str, list[int]] = {}
        self._lower = self._apart = False
        self._lower = not any(map(self.knows, _CAPITALISED)) and self.knows("the")
        self._apart = not self.knows(self.written("The, the.")) and self.knows(self.written("The , the ."))

    def written(self, text: str) -> str:
        """A text, or a template, as this tokenizer has it written."""
        text = text.lower() if self._lower else text
        return _MARK.sub(r" \1", text) if self._apart else text

    def ids(self, text: str) -> list[int]:
        """Token ids of a text alone, remembered."""
        if text not in self._ids:
            self._ids[text] = text_ids(self._tokenizer, text)
        return self._ids[text]

    def following(self, text: str, answer: str) -> int | None:
        """The one token that an answer is where it follows a text; None if it is unknown, or not one token there."""
        try:
            found = following_ids(self._tokenizer, text, answer)
        except ValueError:
            return None
        return found[0] if len(found) == 1 and found[0] != self._unknown else None

    def knows(self, text: str) -> bool:
        """Whether the tokens of a text have all of its characters but spaces, in any case."""
        ids = self.ids(text)
        return self._unknown not in ids and _bare(decoded_text(self._tokenizer, ids)) == _bare(text)

    def token(self, word: str) -> int | None:
        """The one token that a word is after another word; None if it is unknown, or not one token there."""
        return self.following(self.written("the"), f" {self.written(word)}")

    def width(self, word: str, after: str) -> int | None:
        """How many tokens a word is after a text; None if it is unknown, or changes the tokens of that text."""
        before, whole = self.ids(self.written(after.rstrip())), self.ids(self.written(after + word))
        own = whole[len(before) :]
        kept = _bare(decoded_text(self._tokenizer, whole)).endswith(_bare(word)) and self._unknown not in own
        return len(own) if kept and whole[: len(before)] == before else None


def _bare(text: str) -> str:
    return "".join(text.split()).lower()
