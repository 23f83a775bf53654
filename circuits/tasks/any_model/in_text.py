"""Pairs found in text that no template made: places where a task's words occur and one decides what comes next.

    One day Tim saw a big dog and -> he      key: Tim, the nearest of the task's words before it
    One day Lily saw a big dog and -> she

The patch prompt is the clean one with the key exchanged. All else is as it stands, other clues to the answer too.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Final

from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.role_spans import LAST, roles_of_spans
from circuits.tasks.any_model.registry import ANY_TASKS
from circuits.tasks.any_model.writing import TaskRefused, writer_of

IN_TEXT: Final = "text"
"""The template of pairs that no template made."""
KEY: Final = "key"
"""The role of the word that decides the answer."""
Swap = tuple[int, int, int, bool]
"""Key, other, wrong answer, and whether both must stand in the text (`Exchange`)."""


def pairs_in_text(
    task: str,
    texts: Iterable[str],
    model: LanguageModel,
    *,
    examples: int = 100,
    longest: int = 64,
    seed: int = 0,
) -> PromptPairs:
    """Pairs of a task that any text holds: at most one of each document, those of the first documents.

    Args:
        task: one of `ANY_TASKS` whose words decide an answer in text: ioi, gender, agreement or capital.
        texts: documents.
        model: the model whose tokenizer is used.
        examples: pairs at most.
        longest: tokens of a prompt at most, without what opens it; those before are cut off.
        seed: of the draw of the other word.

    Raises:
        ValueError: no such task.
        TaskRefused: the tokenizer cannot write the task, its words decide nothing in text, or the texts hold no pair.

    Examples:
        >>> texts = ["yesterday john followed the old cow and then he liked the barn ."]
        >>> model.shown(pairs_in_text("gender", texts, model)[0].patch_ids[:3])
        '<s>|yesterday| julia'
    """
    if task not in ANY_TASKS:
        raise ValueError(f"No task {task!r} for any model. Tasks: {', '.join(ANY_TASKS)}.")
    writer = writer_of(task, model)
    if writer.task.exchanges is None:
        raise TaskRefused(f"Task {task!r} has no words that decide an answer in other text.")
    swaps: dict[int, list[Swap]] = defaultdict(list)
    token = writer.wording.token
    for one in writer.task.exchanges(writer.words):
        ids = [token(word) for word in (one.key, one.other, one.answer, one.wrong)]
        key, other, answer, wrong = (-1 if number is None else number for number in ids)
        if min(key, other, answer, wrong) >= 0:
            swaps[answer].append((key, other, wrong, one.both))
    rng, found, read = Random(f"{task} {seed}"), dict[tuple[int, ...], PromptPair](), 0
    for read, text in enumerate(texts, start=1):  # noqa: B007
        places = _places(writer.wording.ids(text), swaps, longest, rng)
        for prompt, patch, answer, wrong, at in places:
            if prompt not in found:
                found[prompt] = _pair(model, prompt, patch, answer, wrong, at)
                break
        if len(found) == examples:
            break
    if not found:
        raise TaskRefused(f"In {read:,} documents no place was found where words of task {task!r} decide what follows.")
    return PromptPairs(tuple(found.values()))


Place = tuple[tuple[int, ...], tuple[int, ...], int, int, int]
"""Clean and patch prompt, answer, wrong answer, and the position of the key."""


def _places(ids: Sequence[int], swaps: Mapping[int, Sequence[Swap]], longest: int, rng: Random) -> Iterator[Place]:
    """Every place of a document where an answer follows the nearest of the task's words, if that is its key."""
    words = {*swaps, *(key for own in swaps.values() for key, _, _, _ in own)}
    for end, answer in enumerate(ids):
        prompt = tuple(ids[max(0, end - longest) : end])
        at = next((place for place in reversed(range(len(prompt))) if prompt[place] in words), None)
        if answer not in swaps or at is None:
            continue
        fitting = [swap for swap in swaps[answer] if swap[0] == prompt[at] and _stands(swap, prompt[:at])]
        if fitting:
            key, other, wrong, both = rng.choice(fitting)
            patch = [other if (n == at if both else token == key) else token for n, token in enumerate(prompt)]
            yield prompt, tuple(patch), answer, wrong, at


def _stands(swap: Swap, before: Sequence[int]) -> bool:
    key, other, _, both = swap
    return not both or (key in before and other in before)


def _pair(
    model: LanguageModel, clean: tuple[int, ...], patch: tuple[int, ...], answer: int, wrong: int, at: int
) -> PromptPair:
    opening = model.opening.ids
    ids = (*opening, *clean)
    texts, shown = model.token_texts(ids), model.shown_tokens(ids)
    limits = [0, *accumulate(map(len, texts[len(opening) :]))]
    role = LAST if at == len(clean) - 1 else KEY
    roles = roles_of_spans({role: [limits[at], limits[at + 1]]}, texts, opened=bool(opening), shown=shown)
    return PromptPair(ids, (*opening, *patch), answer, wrong, roles, IN_TEXT)
