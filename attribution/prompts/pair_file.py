"""A file of prompt pairs, in any of three forms. What it holds decides which, not its name.

[row, ...]                                          JSON
{"pairs": [row, ...], "templates": [...]}           JSON, one of the two or both (`prompt_templates.py`)
{"clean": ..., "patch": ...}, one row on each line  JSONL
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attribution.models.language_model import LanguageModel
from attribution.prompts.keys_not_read import KeysNotRead, refuse_misspelt
from attribution.prompts.pair_entry import check_entry, pair_from, pairs_from
from attribution.prompts.pair_stream import count_pairs, pair_stream
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.prompt_templates import fillings
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_lines, read_text

_KEYS: Final = ("pairs", "templates")


def holds_lines(path: str | Path) -> bool:
    """Whether a file of pairs has one on each line: its first line is an object of its own, without `pairs`.

    A first line in braces that is no JSON counts as one, under the name of a JSONL file.
    """
    first = next((line.strip() for line in read_lines(path) if line.strip()), "")
    try:
        content = parse_json(first)
    except ValueError:
        return Path(path).suffix == ".jsonl" and first.startswith("{") and first.endswith("}")
    return isinstance(content, dict) and not content.keys() & set(_KEYS)


def read_pairs(path: str | Path, model: LanguageModel) -> PromptPairs:
    """The pairs of a file, with the keys of `pair_from`.

    Templates expand to the pairs that this tokenizer gives equal lengths; a warning counts the others. Another names
    keys that are not read.

    Raises:
        ValueError: invalid JSON, no pairs, or a pair that is malformed or does not fit the model; with file and row.
    """
    lines = tuple(pair_stream(path, model)) if holds_lines(path) else None
    rows, templates, others = ([], [], []) if lines is not None else _rows(path)
    try:
        pairs = PromptPairs(lines or (*pairs_from(rows, model), *_filled(templates, model)))
        pairs.check_fits(model)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    KeysNotRead(str(path)).say(rows, others)
    return pairs


def refuse_bad_pairs(path: str | Path, most: int | None = None) -> None:
    """Refuse, without a model, a file that no model can read pairs from; of lines, the first `most` are looked at.

    Raises:
        ValueError: as of `read_pairs`, as far as that needs no tokenizer.
    """
    if holds_lines(path):
        count_pairs(path, most)
        return
    rows, templates, _ = _rows(path)
    try:
        if not rows and not templates:
            raise ValueError("No prompt pairs: there is nothing to measure.")
        for row, entry in enumerate(rows):
            check_entry(row, entry)
        for number, template in enumerate(templates):
            next(fillings(number, template))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _rows(path: str | Path) -> tuple[list[Any], list[Any], list[str]]:
    """The rows and the templates of a JSON file, and the keys beside them."""
    try:
        content = parse_json(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}).") from error
    content = {"pairs": content} if isinstance(content, list) else content if isinstance(content, dict) else {}
    refuse_misspelt(str(path), content, _KEYS)
    rows, templates = content.get("pairs", []), content.get("templates", [])
    if not content.keys() & set(_KEYS) or not (isinstance(rows, list) and isinstance(templates, list)):
        raise ValueError(
            f'{path}: expected a list of pairs, {{"pairs": [...]}}, {{"templates": [...]}}, or one pair on each line.'
        )
    return rows, templates, [key for key in content if key not in _KEYS]


def _filled(templates: Sequence[Any], model: LanguageModel) -> list[PromptPair]:
    """The pairs of templates. Those whose prompts differ in length, or in the tokens of a role, are left out."""
    found, left_out, faults = list[PromptPair](), 0, list[str]()
    for number, template in enumerate(templates):
        for filling in fillings(number, template):
            turned = {**filling.row, "clean": filling.row["patch"], "roles": filling.patch_roles}
            try:
                pair, other = (
                    pair_from(number, row, model) for row in (filling.row, turned | {"patch": turned["clean"]})
                )
            except ValueError as error:
                left_out, faults = left_out + 1, [*faults[:1], str(error).replace("Pair", "Template", 1)]
                continue
            if pair.roles == other.roles:
                found.append(pair)
            else:
                left_out += 1
                faults = [*faults[:1], f"Template {number}: a slot has other tokens in {filling.row['patch']!r}."]
    if left_out and found:
        warnings.warn(f"{left_out} of {left_out + len(found)} fillings are left out. {faults[0]}", stacklevel=3)
    if left_out and not found:
        raise ValueError(f"None of {left_out} fillings can be used. {faults[0]}")
    return found
