"""ablation.json and causal_test.json: what an ablation or a causal test found, as plain data."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from circuits.ablation.ablation import Outcome
from circuits.ablation.causal_test import CausalTest
from circuits.ablation.side_effect import SideEffect
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text
from graphs.files.whole_file import whole_file
from graphs.plain_data import as_plain_data

SCHEMA: Final = "jumpwire.ablation"
SCHEMA_VERSION: Final = 1


def write_ablation(path: Path, content: Mapping[str, Any], schema: str = SCHEMA) -> Path:
    """Write the file, and say where. One of the same arguments is replaced; beside one of others it gets a number.

    ablation.json, ablation-2.json, ablation-3.json, ...
    """
    whole = {"schema": schema, "schema_version": SCHEMA_VERSION, **content}
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    numbered = chain((path,), (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in count(2)))
    arguments = json.loads(text).get("arguments")
    target = next(place for place in numbered if not place.exists() or _arguments(place) == arguments)
    with whole_file(target) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return target


def _arguments(path: Path) -> Any:
    """Those of an earlier ablation; the path itself, which equals none, where the file does not say."""
    try:
        return parse_json(read_text(path))["arguments"]
    except (ValueError, LookupError, TypeError, OSError):
        return path


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """`features` holds mean activations over the prompts in which they differ; `shift` is the mean over all prompts."""
    ablation = outcome.ablation
    return {
        "operation": ablation.operation.label,
        "nodes": [str(name) for name in ablation.names],
        "warnings": as_plain_data(outcome.warnings),
        "idle": [str(name) for name in outcome.idle],
        "values_changed": outcome.values_changed,
        "patch_value": ablation.patch_value.name,
        "error_mode": ablation.error_mode,
        "metric": {
            "name": outcome.metric,
            "unit": outcome.unit,
            "before": outcome.before.tolist(),
            "after": outcome.after.tolist(),
            "nothing": outcome.nothing.tolist(),
        },
        "faithfulness": outcome.faithfulness,
        "from_layer": outcome.from_layer,
        "likeliest": {"before": outcome.likeliest_before, "after": outcome.likeliest_after},
        "tokens": [asdict(token) for token in outcome.tokens],
        "features": [{"name": str(f), **asdict(f)} for f in outcome.features],
    }


def side_effect_data(effect: SideEffect | None, source: str | None) -> dict[str, Any] | None:
    """The side effect, in nats per token; None if it was not measured. `source` names the text."""
    return None if effect is None else {"text": source, **asdict(effect)}


def causal_test_data(test: CausalTest) -> dict[str, Any]:
    """The predicted and the measured effect of every node, in `unit`; `float64`: measured in float64, null if not.

    `own_pairs`: the pairs are those of the predicted effects, so that the test is a check; null if unknown.
    """
    confirmed = [None] * len(test.names) if test.confirmed is None else test.confirmed.tolist()
    return {
        "method": test.method,
        "error_mode": test.error_mode,
        "unit": test.unit,
        "pairs": test.pairs,
        "own_pairs": test.own_pairs,
        "total_effect": test.total_effect,
        "pearson": test.pearson,
        "spearman": test.spearman,
        "largest_difference": test.largest_difference,
        "warnings": as_plain_data(test.warnings),
        "nodes": [
            {
                "name": str(name),
                "predicted": float(p),
                "measured": float(m),
                "float64": c,
                "per_pair": each.tolist(),
            }
            for name, p, m, c, each in zip(
                test.names, test.predicted, test.measured, confirmed, test.per_pair, strict=True
            )
        ],
    }
