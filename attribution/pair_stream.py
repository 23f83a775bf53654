"""Prompt pairs from a JSONL file, one a line, read as they are needed: a file of any length is never held whole."""

import json
from collections.abc import Iterator
from pathlib import Path

from attribution.language_model import LanguageModel
from attribution.prompt_pairs import PromptPair, PromptPairs, pair_from


def pair_stream(path: str | Path, model: LanguageModel, *, splice_bos: bool = True) -> Iterator[PromptPair]:
    """The pairs of a file whose lines are objects as in `PromptPairs.from_json`; empty lines are skipped.

    A line that is no pair, or does not fit the model, is a ValueError that names it when it is reached.
    """
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                pair = pair_from(number, json.loads(line), model)
                PromptPairs((pair,)).check_fits(model, splice_bos=splice_bos)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number + 1}: not valid JSON ({error}).") from error
            except ValueError as error:
                raise ValueError(f"{path}, line {number + 1}: {str(error).split(': ', 1)[-1]}") from error
            yield pair
