"""Prompt pairs for a model: from a task's templates, from a file, or from rows."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from attribution.models.language_model import LanguageModel
from attribution.prompts.keys_not_read import KeysNotRead
from attribution.prompts.pair_entry import pair_from, pairs_from
from attribution.prompts.pair_file import read_pairs
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.role_spans import LAST
from circuits.tasks.any_model.writing import written_pairs
from circuits.tasks.lexicon import vocabulary
from circuits.tasks.registry import EVERY_TASK, is_embedded, splits_of
from circuits.tasks.templates import TASKS, text_pairs

DEFAULT_EXAMPLES: Final = 8
_SPECIAL: Final = 16
"""Tokens that a vocabulary may have beside the words of the embedded language."""


def prompt_pairs(
    source: str | Path | Iterable[Mapping[str, Any] | PromptPair],
    model: LanguageModel,
    *,
    split: str | None = None,
    examples: int | None = None,
    seed: int = 0,
) -> PromptPairs:
    """Pairs of a clean and a patch prompt of equal length, each with the answer and the wrong answer (the foil).

    Args:
        source: the name of a task, of the embedded language (`TASKS`) or of any model (`ANY_TASKS`; `agreement` is the
            embedded language's own for a model of that vocabulary); a file of pairs, JSON or JSONL (`pair_file.py`); or
            rows. A row maps `clean`, `patch`, `answer` and `wrong` to text. Where it has `clean_ids` and
            `patch_ids` (BOS included), `answer_id` or `wrong_id`, these are used in place of the text. `answers` and
            `wrongs` are lists of several; `answer_ids` and `wrong_ids` the tokens of one. Without any, the model's two
            likeliest tokens are taken. `roles`, if given, names the positions, `template` what made the row.
        model: the model whose tokenizer is used.
        split: a task's split: `train` (the default), or one of `SPLITS`; of a task for any model `other_words`,
            `other_templates`, or of ioi `adversarial`. Files and rows have none.
        examples: number of pairs; by default 8 pairs of a task, and all pairs of a file or of rows.
        seed: seed of a task's random pairs.

    Raises:
        ValueError: there is no such split, prompts of a pair are of unequal length, or a row has another fault, and the
            message names the row; or the tokenizer cannot write the task, and the message says of how many words.
        FileNotFoundError: there is no task and no file of that name.

    Examples:
        >>> rows = [{"clean": "the doctor", "patch": "the doctors", "answer": "is", "wrong": "are"}]
        >>> pairs = prompt_pairs(rows, model)
        >>> len(pairs), len(pairs[0].clean_ids)
        (1, 3)
        >>> prompt_pairs("ioi", model, split="adversarial", examples=1)[0].roles[-2:]
        ('object', 'end')
    """
    if isinstance(source, str) and source in EVERY_TASK:
        count = DEFAULT_EXAMPLES if examples is None else examples
        return task_pairs(source, "train" if split is None else split, count, seed, model, at_most=examples is None)
    if split is not None:
        raise ValueError("Only a task has splits. For a file or rows, leave split out.")
    if isinstance(source, str | Path):
        return _from_file(source, model).head(examples)
    rows = tuple(source)
    pairs = PromptPairs(tuple(pairs_from(rows, model)))
    pairs.check_fits(model)
    KeysNotRead("The pairs").say(rows)
    return pairs.head(examples)


def task_pairs(
    task: str, split: str, count: int, seed: int, model: LanguageModel, *, at_most: bool = False
) -> PromptPairs:
    """`count` pairs of a task; with `at_most`, all there are where a task for any model has fewer with this tokenizer.

    Roles name the positions. BOS, where prompts open with it, has the role `bos`, and the last position has `end`.

    Raises:
        ValueError: no such task or split, or the tokenizer splits words of the task.
        TaskRefused: it is a task for any model, and the tokenizer cannot write it, or has fewer pairs.
    """
    embedded = is_embedded(task, speaks_embedded(model))
    if split not in splits_of(task, embedded):
        raise ValueError(f"No split {split!r} of task {task!r}. Splits: {', '.join(splits_of(task, embedded))}.")
    if embedded:
        return _embedded_pairs(task, split, count, seed, model)
    return written_pairs(task, split, count, seed, model, at_most=at_most)


def speaks_embedded(model: LanguageModel) -> bool:
    """Whether the model's vocabulary is that of the embedded language, as a tuned copy of the embedded model's is."""
    known = getattr(model.tokenizer, "get_vocab", dict)()
    words = vocabulary()
    return len(known) <= len(words) + _SPECIAL and all(word in known for word in words)


def _embedded_pairs(task: str, split: str, count: int, seed: int, model: LanguageModel) -> PromptPairs:
    opening = ("bos",) if model.opening.ids else ()
    pairs: list[PromptPair] = []
    for row, text in enumerate(text_pairs(task, split, count, seed)):
        roles = (*opening, *text.roles[:-1], LAST)
        entry = {"clean": text.clean, "patch": text.patch, "answer": text.answer, "wrong": text.wrong}
        pair = pair_from(row, entry, model)
        if len(pair) != len(roles):
            raise ValueError(
                f"The model's tokenizer splits words of task {task!r}: {text.clean!r} is {len(pair)} tokens for "
                f"{len(roles)} words. Tasks of the embedded model are {', '.join(TASKS)}. For another model, give one "
                "of its own tasks, or your own pairs with --pairs."
            )
        pairs.append(replace(pair, roles=roles, template=text.template))
    return PromptPairs(tuple(pairs))


def _from_file(path: str | Path, model: LanguageModel) -> PromptPairs:
    if not Path(path).is_file():
        raise FileNotFoundError(f"No task and no file {str(path)!r}. Tasks: {', '.join(EVERY_TASK)}.")
    return read_pairs(path, model)
