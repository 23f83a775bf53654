"""Every task by name: those of the embedded language, and those for any model. Imports no torch.

`agreement` is both: for a model of the embedded language's vocabulary that language's own, for any other the other one.
"""

from typing import Final

from circuits.tasks.any_model.registry import ANY_TASKS, splits_of_any
from circuits.tasks.templates import SPLITS, TASKS

EVERY_TASK: Final = tuple(dict.fromkeys((*TASKS, *ANY_TASKS)))
EVERY_SPLIT: Final = tuple(dict.fromkeys((*SPLITS, *(split for task in ANY_TASKS for split in splits_of_any(task)))))


def is_embedded(task: str, speaks_embedded: bool) -> bool:
    """Whether a name stands for a task of the embedded language, for a model whose vocabulary is that language or not.

    Raises:
        ValueError: there is no such task.
    """
    if task not in EVERY_TASK:
        raise ValueError(f"No task {task!r}. Tasks: {', '.join(EVERY_TASK)}.")
    return task in TASKS and (speaks_embedded or task not in ANY_TASKS)


def splits_of(task: str, speaks_embedded: bool) -> tuple[str, ...]:
    """The names of a task's splits."""
    return SPLITS if is_embedded(task, speaks_embedded) else splits_of_any(task)
