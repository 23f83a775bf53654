"""Files from elsewhere: every value of a JSON file replaced by another, and JSON that is none: an error in words.

What a reader accepts, a page must be able to show. `JUMPWIRE_FUZZ=20000` tries as many replacements of each file; the
seed is `JUMPWIRE_FUZZ_SEED`.
"""

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphs import (
    Certificate,
    CircuitGraph,
    load_circuit,
    load_labels,
    load_verdict,
    save_circuit,
    save_labels,
    save_verdict,
    write_page,
    write_verdict_page,
)
from graphs.certificate import Faithfulness, SAEQuality, SiteQuality
from graphs.files.plain_json import DEEPEST, parse_json
from tests.graphs.page.page_circuits import labels_saying, small_circuit
from tests.worlds.synthetic_verdicts import verdict

COUNT = int(os.environ.get("JUMPWIRE_FUZZ", "300"))
SEED = int(os.environ.get("JUMPWIRE_FUZZ_SEED", "0"))
WRONG: tuple[Any, ...] = (None, 5, -1, 1.5, True, "x", [], {}, ["x"], {"a": 1}, 10**15, "\u2028", 3e38)
Place = tuple[str | int, ...]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 1000 + "]" * 1000, "nested more than 100 levels"),
        ("[" * 100_000, "nested more than 100 levels"),
        ('{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), "nested more than 100 levels"),
        ("[NaN]", "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "too large for a float of 32 bits"),
        ("[4e38]", "4e\\+38 is too large for a float of 32 bits"),
        ("1" + "0" * 400, "more than 38 digits"),
        ("1" * 5000, "a number is too long"),
        ('{"\\ud800": 1}', "half of a surrogate pair"),
        ('["a \\udc00"]', "half of a surrogate pair"),
        (b'["\xff"]', "not UTF-8"),
        ("{", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_json_that_would_break_later_code_is_refused_with_its_reason(text: str | bytes, fault: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=fault):
        parse_json(text)


def test_json_within_the_limits_is_what_the_library_makes_of_it() -> None:
    text = '{"a": [1, -2.5, "\\ud83d\\ude00", null, true], "b": {"c": 9223372036854775807}}'
    assert parse_json(text) == json.loads(text)
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)


def with_certificate() -> CircuitGraph:
    site = SiteQuality("blocks.0.hook_mlp_out", l0=4.0, fvu=0.1, ce_recovered=0.95, ce_increase=0.1, kl=0.1)
    quality = SAEQuality("task", 10, (site,), 0.9, 0.2, 0.1)
    numbers = (4.0, 0.0, 3.6, 0.4, 0.9, 0.8, 1.0, 0.1, 0.0, 0.2, 0.95, 1000)
    faithful = Faithfulness("held_out", 8, 3, "counterfactual", "nodes", "logit_difference", "logits", *numbers)
    hashes = {"model": "a" * 64, "saes": {site.site: "b" * 64}, "prompts": "c" * 64}
    certificate = Certificate(
        hashes=hashes,
        circuit_verified=1.0,
        error_share=0.1,
        flow_shown=0.9,
        screening=None,
        quality=(quality,),
        faithfulness=(faithful,),
    )
    return replace(small_circuit(), certificate=certificate)


def places(content: Any, at: Place = ()) -> Iterator[Place]:
    yield at
    if isinstance(content, dict):
        for key in content:
            yield from places(content[key], (*at, key))
    elif isinstance(content, list):
        for number in range(min(len(content), 2)):
            yield from places(content[number], (*at, number))


def changed(content: Any, at: Place, value: Any) -> Any:
    """The content with another value at a place; without that place if the value is an Ellipsis."""
    if not at:
        return value
    made = copy.deepcopy(content)
    inside = made
    for key in at[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[at[-1]]
    else:
        inside[at[-1]] = value
    return made


@pytest.mark.parametrize("kind", ["circuit", "verdict", "labels"])
def test_a_file_with_another_value_anywhere_is_one_sentence_or_makes_a_page(kind: str, tmp_path: Path) -> None:
    file, page = tmp_path / "file.json", tmp_path / "page.html"
    read: Callable[[Path], Any]
    use: Callable[[Any], object]
    if kind == "circuit":
        save_circuit(with_certificate(), file)
        read, use = load_circuit, lambda found: write_page(found, page, title="t")
    elif kind == "verdict":
        save_verdict(verdict(nodes=12, wrong=4), file)
        read, use = load_verdict, lambda found: write_verdict_page(found, page, title="t")
    else:
        save_labels(labels_saying("a cat"), file)
        read, use = load_labels, lambda found: write_page(small_circuit(), page, title="t", labels=found)
    use(read(file))
    content = json.loads(file.read_text(encoding="utf-8"))
    cases = [(at, value) for at in places(content) for value in (*WRONG, ...) if at or value is not ...]
    draw, refused = random.Random(SEED), 0
    chosen = draw.sample(cases, min(COUNT, len(cases)))
    for at, value in chosen:
        file.write_text(json.dumps(changed(content, at, value)), encoding="utf-8")
        try:
            use(read(file))
        except ValueError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{'.'.join(map(str, at))} = {value!r}: {error!r}") from error
    assert refused > len(chosen) / 3
