"""Labels of a circuit's features, reduced to what its page shows.

The tokens of all contexts form one column of numbers that count into a list of distinct tokens; the header holds the
contexts without their tokens, in the same order. Numbers keep three digits. A page with many features shows fewer and
shorter contexts of each; `labels.json` has all. `script/labels.js` puts tokens and contexts together again.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from graphs.circuit_graph import CircuitGraph
from graphs.feature_labels import Context, FeatureLabel, Labels
from graphs.nodes import FeatureNode
from graphs.page.pack_columns import smallest_integers


@dataclass(frozen=True)
class _Amount:
    """How much a feature shows: contexts, tokens on each side of the marked one, and promoted or suppressed tokens."""

    contexts: int
    around: int
    promoted: int


_ALL: Final = _Amount(contexts=5, around=12, promoted=5)
_LESS: Final = _Amount(contexts=3, around=5, promoted=3)
_MANY_FEATURES: Final = 600


def label_columns(circuit: CircuitGraph, labels: Labels | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header's entries `labels` (by feature, as `site/index`) and `tokens`, and the column `context token`."""
    nodes = {w.node for w in circuit.nodes if isinstance(w.node, FeatureNode)}
    places = sorted({(node.site, node.index) for node in nodes})
    chosen = [] if labels is None else [labels.of(*place) for place in places if place in labels]
    amount = _LESS if len(chosen) > _MANY_FEATURES else _ALL
    numbers: dict[str, int] = {}
    column: list[int] = []
    written: dict[str, Any] = {}
    for label in chosen:
        cuts = [_cut(context, amount.around) for context in label.contexts[: amount.contexts]]
        for tokens, _ in cuts:
            column += [numbers.setdefault(token, len(numbers)) for token in tokens]
        contexts = [
            [len(tokens), place, _rounded(context.activation)]
            for (tokens, place), context in zip(cuts, label.contexts, strict=False)
        ]
        written[label.name] = _header(label, contexts, amount.promoted)
        if labels is not None and labels.tokens == 0:
            written[label.name]["frequency"] = None  # the labels come without a corpus
    return {"labels": written, "tokens": list(numbers)}, {"context token": smallest_integers(np.array(column, int))}


def _cut(context: Context, around: int) -> tuple[tuple[str, ...], int]:
    """The tokens around the marked one, and its index among them."""
    first = max(0, context.place - around)
    return context.tokens[first : context.place + around + 1], context.place - first


def _header(label: FeatureLabel, contexts: list[list[float]], most: int) -> dict[str, Any]:
    return {
        "text": label.text,
        "source": label.source,
        "contexts": contexts,
        "promoted": _weights(label.promoted, most),
        "suppressed": _weights(label.suppressed, most),
        "frequency": _rounded(label.frequency),
        "mean_activation": None if label.mean_activation is None else _rounded(label.mean_activation),
    }


def _weights(entries: tuple[tuple[str, float], ...] | None, most: int) -> list[tuple[str, float]] | None:
    return None if entries is None else [(token, _rounded(weight)) for token, weight in entries[:most]]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
