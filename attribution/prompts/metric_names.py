"""A metric by its name: a built-in one, or a user's own in a Python module; either with the positions it is read at.

logit_difference      logit_difference at verb      kl_divergence at verb, -1      mine:gap      mine:gap at -2
"""

import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from attribution.prompts.metrics import METRICS, Metric, OnLogits
from graphs.short_repr import in_brief

OWN_UNIT = "units of the metric"


def metric_named(name: str) -> Metric:
    """The metric that a name stands for; `module:attribute` is imported, the working folder first.

    What is imported is a `Metric`, or a function of logits [row, vocab] and batch. Its name is then the one given, and
    its version the module's file, so that kept work is not reused after a change of it.

    Raises:
        ValueError: there is no such metric, or it is not read at so many positions.
    """
    base, _, at = (part.strip() for part in name.partition(" at "))
    if base in METRICS:
        metric = METRICS[base]
    elif ":" in base:
        metric = _imported(base)
    else:
        raise ValueError(
            f"No metric {in_brief(base)}. Choose one of: {', '.join(METRICS)}; or give your own as module:name, in a "
            "Python file of this folder."
        )
    return metric.reading_at(*(part.strip() for part in at.split(","))) if at else metric


def _imported(name: str) -> Metric:
    module_name, _, attribute = name.partition(":")
    with _working_folder_first():
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise ValueError(f"Metric {name!r}: the module {module_name!r} cannot be imported ({error}).") from error
    found: Any = getattr(module, attribute, None)
    if found is None:
        there = ", ".join(n for n, value in vars(module).items() if isinstance(value, Metric) or callable(value))
        raise ValueError(f"Metric {name!r}: {module_name} has no {attribute!r}. It has {there or 'no function'}.")
    if isinstance(found, Metric):
        return replace(found, name=name, version=found.version or _digest_of(module))
    if not callable(found):
        raise ValueError(
            f"Metric {name!r} is {type(found).__name__}; expected a Metric or a function of logits and batch."
        )
    function: OnLogits = found  # pyright: ignore[reportAssignmentType]
    return Metric(name, OWN_UNIT, of=function, version=_digest_of(module))


def _digest_of(module: Any) -> str | None:
    file = getattr(module, "__file__", None)
    return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()


@contextmanager
def _working_folder_first() -> Iterator[None]:
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.pop(0)
