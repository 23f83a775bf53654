"""Text pairs of a task and split.

train                the templates and words of the embedded model's training text
held_out             some of these templates, with key words that the training text has in other templates only; for
                     closing, with nestings of marks that never occur in the training text
out_of_distribution  words of the training text in structures that never occur in it
"""

from functools import lru_cache
from random import Random
from types import ModuleType

from circuits.tasks import agreement, closing, indirect_object, pronoun
from circuits.tasks.grammar import draw_topic
from circuits.tasks.text_pair import TextPair
from graphs.short_repr import in_brief

_TASK_MODULES: dict[str, ModuleType] = {
    "agreement": agreement,
    "pronoun": pronoun,
    "indirect_object": indirect_object,
    "closing": closing,
}
TASKS = tuple(_TASK_MODULES)
"""The names of the tasks."""
SPLITS = ("train", "held_out", "out_of_distribution")
"""The names of the splits that every task has."""
MOST_PAIRS = 100_000
"""Of a task, at a time."""
_IN_VAIN = 10_000
"""Draws without a new pair after which there are taken to be no more."""


@lru_cache(maxsize=4)
def text_pairs(task: str, split: str, count: int, seed: int) -> tuple[TextPair, ...]:
    """`count` distinct pairs, the same for the same seed. The first pair has the task's primary template.

    Raises:
        ValueError: no such task or split, a negative count, or more pairs than the split has.
    """
    if task not in TASKS:
        raise ValueError(f"No task {in_brief(task)}. Tasks: {', '.join(TASKS)}")
    if split not in SPLITS:
        raise ValueError(f"No split {in_brief(split)}. Splits: {', '.join(SPLITS)}")
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    if count > MOST_PAIRS:
        raise ValueError(f"A task gives at most {MOST_PAIRS:,} pairs; got {count:,}.")
    rng = Random(f"{task} {split} {seed}")
    pairs: dict[tuple[str, str], TextPair] = {}
    in_vain = 0
    while len(pairs) < count:
        pair, before = draw_pair(rng, task, split, first=not pairs), len(pairs)
        pairs.setdefault((pair.clean, pair.patch), pair)
        in_vain = in_vain + 1 if len(pairs) == before else 0
        if in_vain == _IN_VAIN:
            raise ValueError(
                f"The split {split!r} of the task {task!r} has about {len(pairs):,} different pairs; got {count:,}."
            )
    return tuple(pairs.values())


def draw_pair(rng: Random, task: str, split: str, first: bool = False) -> TextPair:
    """One random pair. With `first`, it has the first template of the split."""
    module = _TASK_MODULES[task]
    held_out = split == "held_out"
    if split == "out_of_distribution":
        templates: dict[str, str] = module.OUT_OF_DISTRIBUTION
        weights = [1] * len(templates)
    else:
        weighted = zip(module.TRAIN, module.TRAIN_WEIGHTS, strict=True)
        kept = {n: w for n, w in weighted if not held_out or n in module.HELD_OUT_TEMPLATES}
        templates, weights = {n: module.TRAIN[n] for n in kept}, list(kept.values())
    name = next(iter(templates)) if first else rng.choices(list(templates), weights)[0]
    return module.draw(rng, draw_topic(rng), name, templates[name], held_out)
