"""A circuit, judged where it was not found: F on other sets of pairs, and which of its nodes fire there nevertheless.

    fires(u, set) = share of the set's clean prompts in which feature u is active at a position of its name

A node that fires as often where the circuit explains nothing as on the prompts that found it is no sign that its
explanation holds there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from attribution.prompts.metrics import Metric, logit_difference
from attribution.prompts.position_names import places_by_label
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, progress_between, silent
from attribution.splice.references import Reference, counterfactual
from attribution.splice.spliced_model import SplicedModel
from circuits.faithfulness.bootstrap import Bootstrap
from circuits.faithfulness.faithfulness import faithfulness_report
from circuits.ranking.aggregate import Ranking
from graphs import CircuitGraph, FeatureNode
from graphs.faithfulness import Faithfulness
from graphs.nodes import node_name
from graphs.short_repr import short_repr

DEFAULT_BOOTSTRAP: Final = Bootstrap()


@dataclass(frozen=True)
class Fires:
    """A feature of the circuit, its effect, and by set the share of clean prompts in which it is active at its place.

    A set has no share where none of its prompts has a position of that name.
    """

    __repr__ = short_repr

    name: str
    effect: float
    share: Mapping[str, float]


@dataclass(frozen=True)
class JudgedElsewhere:
    """F of a circuit on sets of pairs, how often its features fire on each, and why F is missing, by set."""

    __repr__ = short_repr

    faithfulness: tuple[Faithfulness, ...]
    fires: tuple[Fires, ...]
    missing: Mapping[str, str]


def judge_elsewhere(
    spliced: SplicedModel,
    circuit: CircuitGraph | Ranking,
    sets: Mapping[str, PromptPairs],
    metric: Metric = logit_difference,
    *,
    reference: Reference = counterfactual,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    batch_size: int = 64,
    progress: Progress = silent,
) -> JudgedElsewhere:
    """Judge a circuit on other pairs than those that found it.

    Args:
        spliced: the model with its SAEs.
        circuit: the circuit, or a ranking of which all nodes count. Without positions it has a meaning on any text.
        sets: pairs by the name of their set, as `prompt_pairs` and `pairs_in_text` give them.
        metric, reference, bootstrap, batch_size: as in `faithfulness_report`.
        progress: told the share of work done.

    Raises:
        ValueError: no sets.

    Examples:
        >>> sets = {split: prompt_pairs("agreement", model, split=split, examples=2) for split in SPLITS}
        >>> [row.split for row in judge_elsewhere(spliced, found.circuit, sets).faithfulness]
        ['train', 'held_out', 'out_of_distribution']
    """
    if not sets:
        raise ValueError("No sets: give pairs by the name of their set.")
    found: list[Faithfulness] = []
    missing: dict[str, str] = {}
    shares: dict[str, dict[FeatureNode, float]] = {}
    for n, (name, pairs) in enumerate(sets.items()):
        told = progress_between(progress, n / len(sets), (n + 1) / len(sets))
        try:
            pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
            given = {"reference": reference, "bootstrap": bootstrap, "batch_size": batch_size, "progress": told}
            found += faithfulness_report(spliced, {name: pairs}, metric, circuit, **given)
        except ValueError as error:
            missing[name] = str(error)
        shares[name] = _fires(spliced, circuit, pairs, batch_size)
    fires = [
        Fires(
            node_name(w.node, circuit.positions[w.node.position].label),
            w.effect,
            {name: own[w.node] for name, own in shares.items() if w.node in own},
        )
        for w in circuit.nodes
        if isinstance(w.node, FeatureNode)
    ]
    return JudgedElsewhere(tuple(found), tuple(sorted(fires, key=lambda own: -abs(own.effect))), missing)


def _fires(
    spliced: SplicedModel, circuit: CircuitGraph | Ranking, pairs: PromptPairs, batch_size: int
) -> dict[FeatureNode, float]:
    """The share of clean prompts in which each feature is active at a position of its name, if a prompt has one."""
    places = places_by_label(pairs)
    features = [w.node for w in circuit.nodes if isinstance(w.node, FeatureNode)]
    known = {node: places.get(circuit.positions[node.position].label) for node in features}
    active = {node: np.zeros(len(pairs), dtype=bool) for node, at in known.items() if at is not None}
    first = 0
    for batch in pairs.batches(batch_size, spliced.model):
        seen = spliced.record(batch.clean_ids, batch.last).sites
        for node, own in active.items():
            at = known[node]
            assert at is not None
            examples, positions = at
            here = (examples >= first) & (examples < first + len(batch.last))
            row, pos = (
                torch.from_numpy(place).to(batch.last.device) for place in (examples[here] - first, positions[here])
            )
            value = seen[node.site].features.lookup(row, pos, torch.full_like(row, node.index))
            np.logical_or.at(own, examples[here], (value != 0).cpu().numpy())
        first += len(batch.last)
    return {node: float(own.mean()) for node, own in active.items()}
