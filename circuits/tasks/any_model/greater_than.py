"""Greater than: a later year of the same century.

    The war lasted from the year 1732 to the year 17 -> 33, ..., 99

Two forms, and a tokenizer has the first that it can write: the last two digits are one token, or the last one is. Every
later number is right. The patch prompt begins earlier; the numbers after that, up to the clean prompt's own, are the
wrong ones: right there, and no longer in the clean prompt. Source: Hanna et al. 2023.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from circuits.tasks.any_model.task import Drawn, Entry, Keys, Task


def draw(rng: Random, keys: Mapping[str, Sequence[Entry]]) -> Drawn:
    """Two numbers to begin at, with a greater one."""
    numbers, starts = ([number for (number,) in keys[kind]] for kind in ("numbers", "numbers to begin at"))
    low, high = sorted(numbers.index(start) for start in rng.sample([s for s in starts if s != numbers[-1]], 2))
    return Drawn({"start": numbers[high]}, {"start": numbers[low]}, numbers[high + 1 :], numbers[low + 1 : high + 1])


def _form(numbers: Sequence[str], centuries: Sequence[str], needs: int) -> Task:
    known = Keys(tuple((n,) for n in numbers), needs, parted=False, after=f"the year {centuries[0]}")
    return Task(
        train={
            "lasted": "The {event} lasted from the year {century}{start} to the year {century_again}",
            "went": "The {event} went on from {century}{start} to {century_again}",
        },
        other_templates={
            "began": "It began in {century}{start} and it was over in {century_again}",
            "between": "They were there between the years {century}{start} and {century_again}",
        },
        keys={"numbers": known, "numbers to begin at": replace(known, needs=3, parted=True)},
        fillers={"event": ("war", "work", "plan", "game", "trip", "storm"), "century": centuries},
        draw=draw,
    )


TASKS: Final = (
    _form([f"{n:02}" for n in range(2, 100)], [str(n) for n in range(11, 20)], needs=30),
    _form([str(n) for n in range(1, 10)], [f"{n}{d}" for n in range(11, 20) for d in range(2, 9)], needs=9),
)
