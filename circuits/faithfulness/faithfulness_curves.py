"""Faithfulness of a ranking's circuits by their size: MIB's curves, from which CPR and CMD follow.

    F(k) = F of the first nodes of the ranking; k: their share of its features and errors        k in MIB's shares

CPR is the area under F, and CMD the area under |1 − F| (`graphs/faithfulness.py`). MIB ranks by signed score for CPR
and by absolute score for CMD (`ranked_circuits.py`). Costs two forwards for each size, split and ranking. Source: MIB,
Mueller et al. 2025.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from attribution.effects.metric_keeping import ErrorChoice, Kept, metric_keeping
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.references import Reference, counterfactual
from attribution.splice.spliced_model import SplicedModel
from circuits.faithfulness.bootstrap import Bootstrap, Scale
from circuits.faithfulness.faithfulness import DEFAULT_BOOTSTRAP, Conditions, each_split, scales_of
from circuits.faithfulness.ranked_circuits import (
    RankingOrder,
    circuit_and_rest,
    model_and_nothing,
    ordered_nodes,
    size_of_share,
)
from circuits.ranking.aggregate import Ranking
from circuits.ranking.question import Question
from graphs import Node, Position
from graphs.faithfulness import MIB_SHARES, FaithfulnessCurve


def faithfulness_curves(
    spliced: SplicedModel,
    splits: Mapping[str, PromptPairs],
    metric: Metric,
    rankings: Mapping[str, Ranking | Sequence[Ranking]],
    *,
    order: RankingOrder = "absolute",
    shares: Sequence[float] = MIB_SHARES,
    reference: Reference = counterfactual,
    errors: ErrorChoice = "nodes",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    batch_size: int = 64,
    progress: Progress = silent,
) -> tuple[FaithfulnessCurve, ...]:
    """F and completeness of the first nodes of each ranking, by their share of its features and errors.

    Args:
        spliced, splits, metric, reference, errors, bootstrap, batch_size, progress: as in `faithfulness_report`. If
            errors are `kept` or `removed`, sizes count features only.
        rankings: by name. Several rankings under one name, such as `random_rankings`, are averaged.
        order: `absolute` for CMD, `signed` for CPR, as MIB ranks.
        shares: k. Share 1 is the whole model, including nodes that the ranking does not list, such as features that
            are active in no training prompt.

    Raises:
        ValueError: no rankings; and as in `faithfulness_report`.
    """
    families = {name: [r] if isinstance(r, Ranking) else list(r) for name, r in rankings.items()}
    if not families or not all(families.values()):
        raise ValueError("No rankings: give at least one, and at least one under each name.")
    ordered = {name: [ordered_nodes(r, order, errors) for r in family] for name, family in families.items()}
    scales = scales_of(spliced, splits, metric, reference, batch_size)
    found: list[FaithfulnessCurve] = []
    for split, within in each_split(splits, progress):
        pairs, sets = splits[split], list[Kept]()
        for name, family in families.items():
            for ranking, nodes in zip(family, ordered[name], strict=True):
                sets += _circuits(spliced, pairs, nodes, ranking.positions, shares, errors)
        values = metric_keeping(spliced, pairs, metric, sets, reference, batch_size=batch_size, progress=within)
        scale, start = scales[split], 0
        about = Conditions(split, reference.name, errors, metric, bootstrap)
        for name, family in families.items():
            own = values[start : (start := start + 2 * len(family) * len(shares))]
            both = own.reshape(len(family), len(shares), 2, len(pairs))
            sizes = [size_of_share(share, len(ordered[name][0])) for share in shares]
            found.append(_curve(about, scale, name, order, shares, sizes, both))
    return tuple(found)


def _curve(
    about: Conditions,
    scale: Scale,
    name: str,
    order: RankingOrder,
    shares: Sequence[float],
    sizes: Sequence[int],
    values: Float[np.ndarray, "draw share both pair"],
) -> FaithfulnessCurve:
    parts = [[values[:, n, which] for n in range(len(shares))] for which in (0, 1)]
    (low, high), (rest_low, rest_high) = (
        zip(*(scale.ratio_interval(part, about.bootstrap) for part in of), strict=True) for of in parts
    )
    return FaithfulnessCurve(
        ranking=name,
        split=about.split,
        reference=about.reference,
        errors=about.errors,
        metric=about.metric.name,
        order=order,
        draws=len(values),
        pairs=values.shape[-1],
        shares=tuple(shares),
        sizes=tuple(sizes),
        faithfulness=tuple(scale.ratio(part) for part in parts[0]),
        low=low,
        high=high,
        completeness=tuple(scale.ratio(part) for part in parts[1]),
        completeness_low=rest_low,
        completeness_high=rest_high,
    )


def _circuits(
    spliced: SplicedModel,
    pairs: PromptPairs,
    nodes: Sequence[Node],
    positions: Sequence[Position],
    shares: Sequence[float],
    errors: ErrorChoice,
) -> list[Kept]:
    """C and M∖C at each share, in turn."""
    found: list[Kept] = []
    for share in shares:
        if share == 1:
            found += model_and_nothing(errors)
        else:
            found += circuit_and_rest(nodes[: size_of_share(share, len(nodes))], positions, pairs, spliced, errors)
    return found


def curve_around(
    size: int, ranking: Ranking, name: str, question: Question, split: str, pairs: PromptPairs, progress: Progress
) -> FaithfulnessCurve:
    """The curve of a ranking at sizes around that of the circuit chosen from it: `sizes_around`.

    Args:
        size: how many features and errors the circuit has.
        ranking: what the circuit was chosen from; `name` is what the curve calls it.
        question: the model, the metric and the reference.
        split: the name of `pairs`.

    Raises:
        ValueError: the ranking has a single feature or error, so that its curve would be a point; F is undefined.
    """
    members = len(ordered_nodes(ranking))
    if members < 2:
        raise ValueError("The ranking has a single feature or error: it has no circuits of several sizes.")
    (curve,) = faithfulness_curves(
        question.spliced,
        {split: pairs},
        question.metric,
        {name: ranking},
        shares=[s / members for s in sizes_around(size, members)],
        reference=question.reference,
        batch_size=question.room.pairs("exact", 64),
        progress=progress,
    )
    return curve


def sizes_around(size: int, members: int) -> Sequence[int]:
    """`size` times 1/16, 1/4, 1/2, 1, 2, 4 and 16, each from 1 to `members`, and `members` itself; rising."""
    near = {max(1, round(size * times)) for times in (1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 16)}
    return [*sorted(n for n in near if n < members), members]
