"""Does the circuit alone do what the model does? Faithfulness and completeness, with bootstrap intervals.

    F(C) = (m(C) − m(∅)) / (m(M) − m(∅))        completeness = F(M∖C)

m(C) is the metric of the clean prompts with every feature and error outside C at its reference value
(`metric_keeping`). m(M) is always that of the bare model, and m(∅) has everything at its reference, errors too. So F
has one scale whichever way errors are treated:

    nodes     an error is kept if and only if it is in C
    kept      every error stays as this run computes it
    removed   every error takes its reference value, also those in C

The ratio is that of the means over pairs. F may lie outside [0, 1]; it is never clipped. A prompt of another split may
have positions whose names the circuit does not have: every node there is outside C. Source: Wang et al. 2023; Marks et
al. 2024.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from attribution.effects.metric_keeping import EVERYTHING, NOTHING, ErrorChoice, Kept, metric_keeping
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.references import Reference, counterfactual
from attribution.splice.spliced_model import SplicedModel
from circuits.faithfulness.bootstrap import Bootstrap, Scale
from circuits.faithfulness.ranked_circuits import circuit_and_rest
from circuits.ranking.aggregate import Ranking
from graphs import CircuitGraph, ErrorNode, FeatureNode, Node, Position
from graphs.faithfulness import Faithfulness

DEFAULT_BOOTSTRAP: Final = Bootstrap()


def faithfulness_report(
    spliced: SplicedModel,
    splits: Mapping[str, PromptPairs],
    metric: Metric,
    circuit: CircuitGraph | Ranking,
    *,
    reference: Reference = counterfactual,
    errors: ErrorChoice = "nodes",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    batch_size: int = 64,
    progress: Progress = silent,
) -> tuple[Faithfulness, ...]:
    """Faithfulness and completeness of one circuit on several splits, with intervals.

    Args:
        spliced: the model with its SAEs.
        splits: pairs by the name of their split. Clean prompts are run; the reference may use the patch prompts.
        metric: m.
        circuit: a circuit graph, or a ranking of which all nodes count.
        reference: the value of everything outside the circuit.
        errors: `nodes`, `kept` or `removed`, as the top of this file explains.
        bootstrap: how the intervals are computed.
        batch_size: pairs in one forward.
        progress: told the share of work done.

    Raises:
        ValueError: F is undefined on a split, no prompt of a split has a position of the circuit, or the reference has
            no value for a prompt.

    Examples:
        >>> (own,) = faithfulness_report(spliced, {"own": pairs}, logit_difference, found.circuit)
        >>> own.nodes <= 20, own.m_empty < own.m_full
        (True, True)
    """
    nodes = [w.node for w in circuit.nodes]
    sets = {name: circuit_and_rest(nodes, circuit.positions, pairs, spliced, errors) for name, pairs in splits.items()}
    for name, (kept, _) in sets.items():
        _refuse_strange_positions(name, nodes, circuit.positions, kept)
    scales = scales_of(spliced, splits, metric, reference, batch_size)
    found: list[Faithfulness] = []
    for split, within in each_split(splits, progress):
        pairs = splits[split]
        run = partial(metric_keeping, spliced, pairs, metric, batch_size=batch_size, progress=within)
        kept, rest = run(sets[split], reference)
        about = Conditions(split, reference.name, errors, metric, bootstrap)
        found.append(faithfulness_of(about, scales[split], kept, rest, _size(nodes, errors)))
    return tuple(found)


@dataclass(frozen=True)
class Conditions:
    """The conditions under which F was measured."""

    split: str
    reference: str
    errors: ErrorChoice
    metric: Metric
    bootstrap: Bootstrap


def faithfulness_of(about: Conditions, scale: Scale, kept: np.ndarray, rest: np.ndarray, nodes: int) -> Faithfulness:
    """F and completeness of a circuit of `nodes` nodes.

    `kept` and `rest` are the metric of each pair with only the circuit kept, and with only the rest kept.
    """
    low, high = scale.ratio_interval(kept, about.bootstrap)
    rest_low, rest_high = scale.ratio_interval(rest, about.bootstrap)
    return Faithfulness(
        split=about.split,
        pairs=len(kept),
        nodes=nodes,
        reference=about.reference,
        errors=about.errors,
        metric=about.metric.name,
        unit=about.metric.unit,
        m_full=float(scale.full.mean()),
        m_empty=float(scale.empty.mean()),
        m_circuit=float(kept.mean()),
        m_rest=float(rest.mean()),
        faithfulness=scale.ratio(kept),
        low=low,
        high=high,
        completeness=scale.ratio(rest),
        completeness_low=rest_low,
        completeness_high=rest_high,
        confidence=about.bootstrap.confidence,
        resamples=about.bootstrap.resamples,
    )


def _size(nodes: Sequence[Node], errors: ErrorChoice) -> int:
    """How many of the nodes count: features, and errors if they are kept by node; tokens never."""
    kinds = (FeatureNode, ErrorNode) if errors == "nodes" else (FeatureNode,)
    return sum(isinstance(node, kinds) for node in nodes)


def _refuse_strange_positions(split: str, nodes: Sequence[Node], positions: Sequence[Position], kept: Kept) -> None:
    """A ValueError if no prompt has any of the circuit's nodes: their positions are probably named in another way."""
    if nodes and not len(kept.keys):
        labels = ", ".join(repr(p.label) for p in positions)
        raise ValueError(
            f"No prompt of split {split!r} has a position of the circuit ({labels}), so none of its nodes is there. "
            "Give prompts whose roles have the names of the circuit's positions."
        )


def scales_of(
    spliced: SplicedModel, splits: Mapping[str, PromptPairs], metric: Metric, reference: Reference, batch_size: int
) -> dict[str, Scale]:
    """m(M) and m(∅) of every split, by its name.

    Raises:
        ValueError: F is undefined on a split, or the reference has no value for a prompt.
    """
    found: dict[str, Scale] = {}
    for split, pairs in splits.items():
        ends = metric_keeping(spliced, pairs, metric, [EVERYTHING, NOTHING], reference, batch_size=batch_size)
        try:
            found[split] = Scale(*ends)
        except ValueError as error:
            raise ValueError(f"Split {split!r}: {error}") from None
    return found


def each_split(splits: Mapping[str, PromptPairs], progress: Progress) -> Iterator[tuple[str, Progress]]:
    """The name of each split, with the progress of its part of the work."""
    if not splits:
        raise ValueError("No splits: give pairs by the name of their split.")
    whole, done = sum(map(len, splits.values())), 0
    for name, pairs in splits.items():
        size = len(pairs)
        yield name, lambda share, done=done, size=size: progress((done + share * size) / whole)
        done += size
