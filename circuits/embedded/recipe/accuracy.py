"""How often a model, or a simple heuristic, prefers the right next word on task pairs.

right on clean     logit(answer) > logit(wrong) after the clean text
right on patch     logit(wrong) > logit(answer) after the patch text
logit difference   mean of logit(answer) - logit(wrong) on clean texts and its negative on patch texts
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from transformers import LlamaForCausalLM

from circuits.embedded.recipe.tokenizer import BOS, PAD, word_ids
from circuits.tasks.lexicon import (
    AUXILIARIES,
    CLOSING_MARKS,
    FEMALE_KIN,
    FEMALE_NAMES,
    FEMALE_SHARE,
    GENERAL_VERBS,
    MALE_KIN,
    MALE_NAMES,
    NAMES,
    TOPICS,
)
from circuits.tasks.text_pair import TextPair

Scores = Callable[[Sequence[str], Sequence[tuple[str, str]]], list[float]]
"""Takes texts and two words for each; returns each text's preference for its first word, positive if that one wins."""


@dataclass(frozen=True)
class Accuracy:
    """Shares of pairs right on the clean text, the patch text and both; mean preference for the right word."""

    clean: float
    patch: float
    both: float
    difference: float

    def as_json(self) -> dict[str, float]:
        """The four numbers by name, rounded for reading."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def accuracy(pairs: Sequence[TextPair], scores: Scores) -> Accuracy:
    """The accuracy on some pairs. A preference of exactly 0 counts as half right, so indifference scores chance."""
    clean = scores([p.clean for p in pairs], [(p.answer, p.wrong) for p in pairs])
    patch = scores([p.patch for p in pairs], [(p.wrong, p.answer) for p in pairs])
    right = [(_share_right(c), _share_right(p)) for c, p in zip(clean, patch, strict=True)]
    count = len(pairs)
    return Accuracy(
        sum(c for c, _ in right) / count,
        sum(p for _, p in right) / count,
        sum(c * p for c, p in right) / count,
        (sum(clean) + sum(patch)) / (2 * count),
    )


def _share_right(preference: float) -> float:
    return 0.5 if preference == 0 else float(preference > 0)


def model_scores(model: LlamaForCausalLM, batch: int = 128) -> Scores:
    """The preferences of a model: logit differences at the last word."""
    ids = word_ids()

    @torch.no_grad()
    def scores(texts: Sequence[str], words: Sequence[tuple[str, str]]) -> list[float]:
        result: list[float] = []
        for start in range(0, len(texts), batch):
            rows = [[ids[BOS], *(ids[w] for w in t.split())] for t in texts[start : start + batch]]
            longest = max(map(len, rows))
            tokens = torch.tensor([row + [ids[PAD]] * (longest - len(row)) for row in rows])
            logits = model(input_ids=tokens).logits
            for i, (row, (first, second)) in enumerate(zip(rows, words[start : start + batch], strict=True)):
                last = logits[i, len(row) - 1]
                result.append(float(last[ids[first]] - last[ids[second]]))
        return result

    return scores


def bigram_scores(documents: Iterable[str]) -> Scores:
    """The preferences of a bigram model: how often each word follows the last word in the given documents."""
    counts: Counter[tuple[str, str]] = Counter()
    for text in documents:
        counts.update(pairwise(text.split()))

    def scores(texts: Sequence[str], words: Sequence[tuple[str, str]]) -> list[float]:
        last = [text.rsplit(maxsplit=1)[-1] for text in texts]
        return [
            float(counts[end, first] - counts[end, second]) for end, (first, second) in zip(last, words, strict=True)
        ]

    return scores


def nearest_scores(texts: Sequence[str], words: Sequence[tuple[str, str]]) -> list[float]:
    """1 if the nearest cue asks for the first word, -1 if it asks for the second, 0 if no cue decides.

    The cue is the nearest noun's number for verbs, the nearest person's likely gender for pronouns, the nearest name
    itself for names, and the nearest opening mark for closing marks.
    """
    return [_nearest(text.split(), pair) for text, pair in zip(texts, words, strict=True)]


def _nearest(text: list[str], words: tuple[str, str]) -> float:
    for word in reversed(text):
        asked = frozenset({word}) if words[0] in NAMES else _CUES.get(word, frozenset())
        if words[0] in asked or words[1] in asked:
            return 1.0 if words[0] in asked else -1.0
        if word in CLOSING_MARKS and words[0] in CLOSING_MARKS.values():
            return 0.0
    return 0.0


def _cues() -> dict[str, frozenset[str]]:
    """The next words that each cue word asks for."""
    singular_verbs, plural_verbs = (frozenset(v[i] for v in _all_verbs()) for i in (0, 1))
    cues: dict[str, frozenset[str]] = {mark: frozenset({close}) for mark, close in CLOSING_MARKS.items()}
    for topic in TOPICS.values():
        for singular, plural in (*topic.people, *topic.things):
            cues[singular], cues[plural] = singular_verbs, plural_verbs
    for profession, share in FEMALE_SHARE.items():
        cues[profession] |= {"she"} if share > 0.5 else {"he"} if share < 0.5 else set()
    cues |= {word: frozenset({"she"}) for word in (*FEMALE_NAMES, *FEMALE_KIN)}
    return cues | {word: frozenset({"he"}) for word in (*MALE_NAMES, *MALE_KIN)}


def _all_verbs() -> list[tuple[str, str]]:
    return [*AUXILIARIES, *GENERAL_VERBS, *(verb for topic in TOPICS.values() for verb in topic.verbs)]


_CUES = _cues()
