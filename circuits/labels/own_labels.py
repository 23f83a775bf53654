"""Labels that a person gave, from JSON or JSONL. They replace the automatic ones.

JSONL, or a JSON list      rows {"site": "blocks.2.hook_resid_post", "index": 117, "label": "plural subject"}
JSON object                {"blocks.2.hook_resid_post/117": "plural subject", ...}
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attribution.splice.spliced_model import SplicedModel
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text


def own_labels(path: str | Path, spliced: SplicedModel) -> dict[tuple[str, int], str]:
    """The labels of a file, by canonical site and index. Errors name the row.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a row is malformed, or its feature is labelled twice or is not one of the SAE's.
        LookupError: a site has no SAE.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Labels {path}: no such file.")
    found: dict[tuple[str, int], str] = {}
    for where, site, index, label in _rows(path):
        try:
            canonical = spliced.site(site)
        except LookupError as error:
            raise LookupError(f"{where}: {error.args[0]}") from error
        refuse_outside(spliced, canonical, index, where)
        if (canonical, index) in found:
            raise ValueError(f"{where}: {site}/{index} is labelled twice. Remove one of its rows.")
        found[canonical, index] = label
    return found


def refuse_bad_labels(path: str | Path) -> None:
    """Refuse a file with a row that `own_labels` would refuse, as far as that needs no SAEs."""
    for _ in _rows(Path(path)):
        pass


def refuse_outside(spliced: SplicedModel, site: str, index: int, where: str) -> None:
    """Raise a ValueError for a feature that the SAE at this site does not have. The message starts with `where`."""
    d_sae = spliced.saes[site].d_sae
    if not 0 <= index < d_sae:
        raise ValueError(f"{where}: {site!r} has no feature {index}; its SAE has features 0 to {d_sae - 1}.")


def feature_place(name: str) -> tuple[str, int]:
    """Site and index of a feature's name, as in `blocks.2.hook_resid_post/117`. A position after @ is ignored."""
    site, slash, index = name.partition("@")[0].rpartition("/")
    if not slash or not site or not (index.isascii() and index.isdigit()):
        raise ValueError(f"{name!r} names no feature; expected site/index, as in blocks.2.hook_resid_post/117.")
    return site, int(index)


def _rows(path: Path) -> Iterator[tuple[str, str, int, str]]:
    text = read_text(path)
    if path.suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                where = f"Labels {path}, row {number}"
                yield _row(where, _parsed_json(line, where))
        return
    content = _parsed_json(text, f"Labels {path}")
    if isinstance(content, dict):
        content = [_row_of_entry(f"Labels {path}, {name!r}", name, label) for name, label in content.items()]
    if not isinstance(content, list):
        raise ValueError(
            f"Labels {path}: expected rows with site, index and label, or an object from site/index to label."
        )
    for number, row in enumerate(content, start=1):
        yield _row(f"Labels {path}, row {number}", row)


def _row_of_entry(where: str, name: str, label: Any) -> dict[str, Any]:
    try:
        site, index = feature_place(name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return {"site": site, "index": index, "label": label}


def _row(where: str, row: Any) -> tuple[str, str, int, str]:
    if not isinstance(row, dict) or not {"site", "index", "label"} <= set(row):
        raise ValueError(f'{where}: expected {{"site", "index", "label"}}; found {json.dumps(row)[:100]}.')
    site, index, label = row["site"], row["index"], row["label"]
    if not isinstance(site, str) or type(index) is not int:
        raise ValueError(f"{where}: site must be text and index a whole number.")
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"{where}: the label must be text that is not empty.")
    return where, site, index, label


def _parsed_json(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON ({error}).") from error
