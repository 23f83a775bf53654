"""Docstrings: the next argument to document is the next one of the function.

    def value(self, size, file, item, mode):
        \"\"\"A table line

        :param size: group order
        :param file: user data
        :param                                -> item

The patch prompt exchanges the next argument and the one after it, in the definition.
Source: Heimersheim and Janiak 2023.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from circuits.tasks.any_model.task import Drawn, Entry, Keys, Task
from circuits.tasks.any_model.words import ARGUMENTS

_WORDS = 7


def draw(rng: Random, keys: Mapping[str, Sequence[Entry]]) -> Drawn:
    """Four arguments, of which two are documented, and words for the rest."""
    *arguments, following, after = (word for (word,) in rng.sample(keys["arguments"], 4))
    used = {*arguments, following, after}
    words = {f"arg_{n}": word for n, word in enumerate(arguments, start=1)}
    words |= {f"doc_{n}": word for n, word in enumerate(arguments, start=1)}
    words |= {"next": following, "after": after}
    rest = [word for (word,) in keys["arguments"] if word not in used]
    words |= {f"word_{n}": rng.choice(rest) for n in range(1, _WORDS + 1)}
    return Drawn(words, {"next": after, "after": following}, [f" {following}"], [f" {after}"])


_TWO_DOCUMENTED = "    :param {doc_1}: {word_4} {word_5}\n    :param {doc_2}: {word_6} {word_7}\n    :param"

TASK: Final = Task(
    train={
        "method": (
            "def {word_1}(self, {arg_1}, {arg_2}, {next}, {after}):\n"
            f'    """A {{word_2}} {{word_3}}\n\n{_TWO_DOCUMENTED}'
        ),
        "class": (
            "class A:\n  def {word_1}(self, {arg_1}, {arg_2}, {next}, {after}):\n"
            f'    """The {{word_2}} {{word_3}}\n\n{_TWO_DOCUMENTED}'
        ),
    },
    other_templates={
        "function": (
            f'def {{word_1}}(a, {{arg_1}}, {{arg_2}}, {{next}}, {{after}}):\n    """A {{word_2}}\n\n{_TWO_DOCUMENTED}'
        ),
        "one_documented": (
            'def {word_1}(self, {arg_1}, {next}, {after}):\n    """A {word_2} {word_3}\n\n'
            "    :param {doc_1}: {word_4} {word_5}\n    :param"
        ),
    },
    keys={"arguments": Keys(tuple((word,) for word in ARGUMENTS), needs=6)},
    draw=draw,
)
