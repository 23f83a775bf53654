"""Prompt pairs from a JSONL file, one pair a line, read when needed: a file of any length is never held as a whole.

A warning names keys that are not read, when the first pair that has them is reached.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from attribution.models.language_model import LanguageModel
from attribution.prompts.keys_not_read import KeysNotRead
from attribution.prompts.pair_entry import check_entry, pair_from
from attribution.prompts.position_names import SameRoles
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_lines

_Entry = TypeVar("_Entry")


def pair_stream(path: str | Path, model: LanguageModel, *, splice_bos: bool = True) -> Iterator[PromptPair]:
    """The pairs of a file, whose lines are objects with the keys that `pair_from` reads. Empty lines are skipped.

    Raises:
        ValueError: a line that is no pair or does not fit the model, when it is reached. The message names the line.
    """

    unread = KeysNotRead(str(path))

    def pair(number: int, entry: Any) -> PromptPair:
        found = pair_from(number, entry, model)
        PromptPairs((found,)).check_fits(model, splice_bos=splice_bos)
        unread.say((entry,))
        return found

    return _each_line(path, pair)


def count_pairs(path: str | Path, most: int | None = None) -> int:
    """The number of pairs in the file, at most `most`. The file is read once and never held as a whole.

    Lines are checked as far as that needs no tokenizer.

    Raises:
        ValueError: no pairs at all; or a line that is not JSON, has wrong keys, types or lengths of ids, or has roles
            although the first pair has none (or the reverse). The message names the line.
    """
    roles = SameRoles()

    def form(number: int, entry: Any) -> None:
        check_entry(number, entry)
        roles.check(number, entry.get("roles"))

    count = sum(1 for _ in islice(_each_line(path, form), most))
    if count == 0:
        raise ValueError(f"{path}: no prompt pairs. Give a file in which each line is one pair, as a JSON object.")
    return count


def _each_line(path: str | Path, read: Callable[[int, Any], _Entry]) -> Iterator[_Entry]:
    for number, line in enumerate(read_lines(path)):
        if not line.strip():
            continue
        try:
            found = read(number, parse_json(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number + 1}: not valid JSON ({error}).") from error
        except ValueError as error:
            raise ValueError(f"{path}, line {number + 1}: {str(error).split(': ', 1)[-1]}") from error
        yield found
