"""The tasks for any model by name, and their splits. Imports no torch."""

from collections.abc import Mapping
from typing import Final

from circuits.tasks.any_model import agreement, capital, docstring, gender, greater_than, induction, ioi
from circuits.tasks.any_model.task import SPLITS, Task

FORMS: Final[Mapping[str, tuple[Task, ...]]] = {
    "ioi": (ioi.TASK,),
    "greater_than": greater_than.TASKS,
    "gender": (gender.TASK,),
    "agreement": (agreement.TASK,),
    "induction": (induction.TASK,),
    "docstring": (docstring.TASK,),
    "capital": (capital.TASK,),
}
"""The forms of each task; a tokenizer gets the first that it can write."""
ANY_TASKS: Final = tuple(FORMS)
ANY_SPLITS: Final = SPLITS


def splits_of_any(task: str) -> tuple[str, ...]:
    """The names of a task's splits."""
    return FORMS[task][0].splits
