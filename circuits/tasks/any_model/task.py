"""What a task for any tokenizer is made of: templates by split, words that must be one token, and a draw.

    When {io} and {s1} went to the {place}, {s2} gave a {object} to

A slot is the role of the word that fills it. Words in no slot are named by their text. The last token is always `end`.

    key words   every form is one token, in its place too; a draw chooses among them, and splits differ in them
    fillers     all words of a list have equally many tokens, as few as two of them allow
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from graphs.short_repr import short_repr

Entry = tuple[str, ...]
"""The forms of a key word that belong together: (name,), (singular, plural), (country, capital)."""

SPLITS: Final = ("train", "other_words", "other_templates", "adversarial")
"""The training templates with their words; with words of their own; other templates; and those that are to mislead."""


@dataclass(frozen=True)
class Keys:
    """Key words of one kind.

    Attributes:
        entries: candidates; those whose forms are one token each are taken.
        needs: entries without which there is no pair.
        parted: whether the split `other_words` has entries of its own, about a third.
        after: the text after which a word is looked up.
    """

    entries: tuple[Entry, ...]
    needs: int
    parted: bool = True
    after: str = "the "


@dataclass(frozen=True)
class Drawn:
    """Words for the slots that are no fillers, those that the patch prompt changes, and the next words, with spaces."""

    words: Mapping[str, str]
    changed: Mapping[str, str]
    answers: Sequence[str]
    wrongs: Sequence[str]


@dataclass(frozen=True)
class Exchange:
    """Words that decide an answer in any text: after `key` comes `answer`, and after `other` in its place `wrong`.

    `both` asks that key and other stand in the text before, and exchanges the key's last occurrence; by default every
    occurrence is exchanged.
    """

    key: str
    other: str
    answer: str
    wrong: str
    both: bool = False


@dataclass(frozen=True)
class Task:
    """Templates by name, key words and fillers by kind, and what makes a pair of them.

    `fillers` serve the slots of their name; `place_again` is the word of `place` once more. `draw` gets the entries of
    each kind that this tokenizer and split have; `exchanges` all of them, and says where the task is in other text.
    """

    __repr__ = short_repr

    train: Mapping[str, str]
    other_templates: Mapping[str, str]
    keys: Mapping[str, Keys]
    draw: Callable[[Random, Mapping[str, Sequence[Entry]]], Drawn]
    fillers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    adversarial: Mapping[str, str] = field(default_factory=dict)
    exchanges: Callable[[Mapping[str, Sequence[Entry]]], Iterator[Exchange]] | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of its splits."""
        return SPLITS if self.adversarial else SPLITS[:-1]

    def templates(self, split: str) -> Mapping[str, str]:
        """The templates of a split."""
        return {"other_templates": self.other_templates, "adversarial": self.adversarial}.get(split, self.train)
