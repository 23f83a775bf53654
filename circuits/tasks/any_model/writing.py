"""Pairs of a task, written for one tokenizer; what it cannot write is refused with counts.

the words of a kind           those whose forms are one token each, two thirds for training, the others apart
a pair                        both prompts have every slot at the same tokens; key words and answers are one token
the prompts of a template     equally long: fillers of one list have equally many tokens
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from string import Formatter
from typing import Final, final

from attribution.models.language_model import LanguageModel
from attribution.prompts.answers import Tokens
from attribution.prompts.pair_entry import check_ids
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.role_spans import LAST, roles_of_spans
from circuits.tasks.any_model.registry import FORMS
from circuits.tasks.any_model.task import Drawn, Entry, Keys, Task
from circuits.tasks.any_model.wording import Wording

_TRIES: Final = 30
"""Draws after which a template of which none could be used is left out."""
_IN_VAIN: Final = 1000
"""Draws without a new pair after which there are taken to be no more."""
_FEWEST_FILLERS: Final = 2
_ADVICE: Final = "Choose another task, or give pairs of your own."


class TaskRefused(ValueError):
    """A task or a split that the model's tokenizer cannot write, with counts."""


class _Unusable(Exception):
    """Why a drawn pair cannot be used."""


def written_pairs(
    name: str, split: str, count: int, seed: int, model: LanguageModel, *, at_most: bool = False
) -> PromptPairs:
    """`count` different pairs of a task, the same for the same seed and tokenizer; with `at_most`, or all there are.

    Roles name the positions: slots, then `bos`, `end`, and words by their text.

    Raises:
        TaskRefused: the tokenizer cannot write the task or the split, or has fewer pairs.
    """
    return writer_of(name, model).pairs(name, split, count, seed, at_most)


def writer_of(name: str, model: LanguageModel) -> "TaskWriter":
    """The first form of a task that the tokenizer can write.

    Raises:
        TaskRefused: there is none.
    """
    refused: list[str] = []
    for task in FORMS[name]:
        try:
            return TaskWriter(task, model)
        except TaskRefused as error:
            refused.append(str(error))
    forms = " Nor in its other form: ".join(refused)
    raise TaskRefused(f"Task {name!r} cannot be written with the tokenizer of this model: {forms} {_ADVICE}")


@final
class TaskWriter:
    """One form of a task in the words of one tokenizer.

    `words` are the entries of each kind that it has.

    Raises:
        TaskRefused: too few key words, or no training template that can be written.
    """

    def __init__(self, task: Task, model: LanguageModel) -> None:
        self.task, self._model, self.wording = task, model, Wording(model)
        self._roles_of: dict[str, tuple[str, ...]] = {}
        self.words = {kind: self._known(keys) for kind, keys in task.keys.items()}
        self._fillers = {kind: self._narrowest(words) for kind, words in task.fillers.items()}
        self._refuse_few("", 1)
        self._templates("train")

    def pairs(self, name: str, split: str, count: int, seed: int, at_most: bool) -> PromptPairs:
        """As `written_pairs`."""
        of = f"Split {split!r} of task {name!r} cannot be written with the tokenizer of this model:"
        try:
            keys, templates = self._keys(split), self._templates(split)
        except TaskRefused as error:
            raise TaskRefused(f"{of} {error} {_ADVICE}") from None
        rng = Random(f"{name} {split} {seed}")
        found, left_out, in_vain = dict[tuple[str, str], PromptPair](), Counter[str](), 0
        tried = set[tuple[str, str]]()
        while len(found) < count and in_vain < _IN_VAIN:
            template = rng.choice(list(templates))
            texts, drawn, words = self._drawn(rng, templates[template], keys)
            in_vain += 1
            if texts in tried:
                continue
            tried.add(texts)
            try:
                found[texts] = self._pair(templates[template], template, drawn, words)
                in_vain = 0
            except _Unusable as fault:
                left_out[str(fault)] += 1
        if len(found) < (1 if at_most else count):
            also = "".join(f" {number:,} that were drawn cannot be used: {why}." for why, number in left_out.items())
            raise TaskRefused(
                f"Split {split!r} of task {name!r} has {len(found):,} different pairs with the tokenizer of this "
                f"model; got {count:,}.{also}"
            )
        return PromptPairs(tuple(found.values()))

    def _known(self, keys: Keys) -> list[Entry]:
        width = self.wording.width
        return [entry for entry in keys.entries if all(width(form, keys.after) == 1 for form in entry)]

    def _narrowest(self, words: Sequence[str]) -> tuple[list[str], int]:
        """The words of the smallest number of tokens that two of them have; and that number, 0 if there is none."""
        by_width: dict[int, list[str]] = {}
        for word in words:
            if (width := self.wording.width(word, "the ")) is not None:
                by_width.setdefault(width, []).append(word)
        enough = [width for width in sorted(by_width) if len(by_width[width]) >= _FEWEST_FILLERS]
        width = next(iter(enough or sorted(by_width)), 0)
        return by_width.get(width, []), width

    def _refuse_few(self, why: str, times: int, kinds: Sequence[str] | None = None) -> None:
        """A TaskRefused with the counts of every kind, if one has fewer words than `times` its need."""
        asked = {kind: self.task.keys[kind] for kind in kinds or self.task.keys}
        if any(len(self.words[kind]) < times * keys.needs for kind, keys in asked.items()):
            counts = "; ".join(
                f"{len(self.words[kind])} of {len(keys.entries)} {kind} ({times * keys.needs} needed)"
                for kind, keys in asked.items()
            )
            raise TaskRefused(f"of the words tried, these are one token in every form: {counts}{why}.")

    @property
    def _parted(self) -> list[str]:
        """The kinds of which each split has words of its own; none where one has too few for that."""
        kinds = [kind for kind, keys in self.task.keys.items() if keys.parted]
        return kinds if all(len(self.words[k]) >= 2 * self.task.keys[k].needs for k in kinds) else []

    def _keys(self, split: str) -> dict[str, list[Entry]]:
        """The key words of a split."""
        if split == "other_words":
            self._refuse_few(
                ", so that both splits have some", 2, [k for k, keys in self.task.keys.items() if keys.parted]
            )
        found = dict(self.words)
        for kind in self._parted:
            words = self.words[kind]
            share = max(self.task.keys[kind].needs, len(words) // 3)
            apart = words[:: len(words) // share][:share]
            found[kind] = apart if split == "other_words" else [word for word in words if word not in apart]
        return found

    def _templates(self, split: str) -> dict[str, str]:
        """The templates of a split of which a pair can be used, as this tokenizer has them written."""
        found, faults = dict[str, str](), Counter[str]()
        keys, every = self._keys(split), self.task.templates(split)
        for name, text in every.items():
            template, rng = self.wording.written(text), Random(name)
            try:
                self._try(rng, template, keys)
                found[name] = template
            except _Unusable as fault:
                faults[str(fault)] += 1
        if not found:
            why = "; ".join(f"{number}: {fault}" for fault, number in faults.items())
            raise TaskRefused(f"none of {len(every)} templates can be used ({why}).")
        return found

    def _try(self, rng: Random, template: str, keys: Mapping[str, Sequence[Entry]]) -> None:
        """Raises the last fault of some draws, if all have one."""
        for last in [False] * (_TRIES - 1) + [True]:
            _, drawn, words = self._drawn(rng, template, keys)
            try:
                self._pair(template, "", drawn, words)
                return
            except _Unusable:
                if last:
                    raise

    def _drawn(
        self, rng: Random, template: str, keys: Mapping[str, Sequence[Entry]]
    ) -> tuple[tuple[str, str], Drawn, dict[str, str]]:
        """Both texts, what was drawn, and the words of every slot of the clean prompt."""
        drawn = self.task.draw(rng, keys)
        written = self.wording.written
        chosen = {kind: rng.choice(own) if own else "" for kind, (own, _) in self._fillers.items()}
        words = {slot: written(drawn.words.get(slot) or chosen[_kind(slot)]) for _, slot in _pieces(template) if slot}
        changed = {slot: written(word) for slot, word in drawn.changed.items()}
        return (template.format(**words), template.format(**{**words, **changed})), drawn, words

    def _pair(self, template: str, name: str, drawn: Drawn, words: Mapping[str, str]) -> PromptPair:
        """The pair. Raises `_Unusable` with the reason if it is none."""
        written = self.wording.written
        changed = {slot: written(word) for slot, word in drawn.changed.items()}
        clean, spans = self._spans(template, words)
        patch, others = self._spans(template, {**words, **changed})
        if spans != others:
            raise _Unusable("their prompts differ in length")
        for slot, (start, end) in spans.items():
            kind = _kind(slot)
            if end - start != (1 if slot in drawn.words else self._fillers[kind][1]):
                raise _Unusable(f"the word for {slot} has another number of tokens there")
        ids, patch_ids = ((*self._model.opening.ids, *self.wording.ids(text)) for text in (clean, patch))
        try:
            check_ids(0, ids, self._model)
        except ValueError as error:
            raise _Unusable(str(error).removeprefix("Pair 0: ").rstrip(".")) from None
        answers, foils = (self._answers(clean, patch, texts) for texts in (drawn.answers, drawn.wrongs))
        return PromptPair.of(ids, patch_ids, answers, foils, roles=self._roles(template, ids, spans), template=name)

    def _answers(self, clean: str, patch: str, texts: Sequence[str]) -> tuple[Tokens, ...]:
        """The token of every answer, the same after both prompts."""
        found: list[Tokens] = []
        for text in map(self.wording.written, texts):
            after = {self.wording.following(prompt, text) for prompt in (clean, patch)}
            if len(after) > 1 or None in after:
                raise _Unusable("an answer is not one token, the same after both prompts")
            found += [(token,) for token in after if token is not None]
        return tuple(found)

    def _roles(self, template: str, ids: Sequence[int], spans: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
        """The role of every token; all prompts of a template have the same."""
        if template not in self._roles_of:
            texts, shown = self._model.token_texts(ids), self._model.shown_tokens(ids)
            opening = len(self._model.opening.ids)
            limits = [0, *accumulate(map(len, texts[opening:]))]
            slots = {LAST if end == len(limits) - 1 else slot: (start, end) for slot, (start, end) in spans.items()}
            places = {slot: [limits[start], limits[end]] for slot, (start, end) in slots.items()}
            self._roles_of[template] = roles_of_spans(places, texts, opened=opening > 0, shown=shown)
        return self._roles_of[template]

    def _spans(self, template: str, words: Mapping[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
        """A template filled with words, and the tokens [start, end) of every slot."""
        text = template.format(**words)
        if not all(words[slot] for _, slot in _pieces(template) if slot):
            raise _Unusable("a list of words has none that the tokenizer knows")
        if not self.wording.knows(text):
            raise _Unusable("a word is unknown to the tokenizer")
        whole, before = self.wording.ids(text), ""
        spans: dict[str, tuple[int, int]] = {}
        for literal, slot in _pieces(template):
            before += literal
            if slot is None:
                continue
            start, end = self.wording.ids(before.rstrip()), self.wording.ids(before + words[slot])
            if whole[: len(start)] != start or whole[: len(end)] != end:
                raise _Unusable("a word grows together with its neighbours")
            before += words[slot]
            spans[slot] = len(start), len(end)
        return text, spans


def _pieces(template: str) -> list[tuple[str, str | None]]:
    """What stands before each slot, and the slot; None after the last."""
    return [(literal, slot) for literal, slot, _, _ in Formatter().parse(template)]


def _kind(slot: str) -> str:
    return slot.removesuffix("_again")
