"""The smallest circuit of a ranking that is faithful enough.

    smallest n with F(first n nodes) >= target

Sizes are scanned, two for each doubling. A bisection follows between the first scanned size that reaches the target and
the size before it. F need not grow with n, so the search can miss a smaller circuit between two scanned sizes.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from attribution.effects.metric_keeping import EVERYTHING, NOTHING, ErrorChoice, Kept, metric_keeping
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.references import Reference, counterfactual
from attribution.splice.spliced_model import SplicedModel
from circuits.faithfulness.bootstrap import Bootstrap, Scale
from circuits.faithfulness.faithfulness import DEFAULT_BOOTSTRAP, Conditions, faithfulness_of
from circuits.faithfulness.ranked_circuits import RankingOrder, circuit_and_rest, ordered_nodes
from circuits.ranking.aggregate import Ranking
from graphs.faithfulness import Faithfulness


def smallest_faithful(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    ranking: Ranking,
    *,
    target: float = 0.8,
    split: str = "",
    order: RankingOrder = "absolute",
    reference: Reference = counterfactual,
    errors: ErrorChoice = "nodes",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Faithfulness | None:
    """The smallest circuit of a ranking's first nodes with F >= target that the search finds; None if it finds none.

    The size found reaches the target, one node fewer does not, and neither does any smaller size that was scanned.

    Args:
        pairs, split: the prompt pairs of one split, and its name.
        target: the F to reach.
        spliced, metric, ranking, order, reference, errors, bootstrap, batch_size, progress: as in
            `faithfulness_curves`.
    """
    nodes = ordered_nodes(ranking, order, errors)

    def sets_of(size: int) -> tuple[Kept, Kept]:
        return circuit_and_rest(nodes[:size], ranking.positions, pairs, spliced, errors)

    def run(sets: Sequence[Kept], told: Progress = silent) -> Float[np.ndarray, "set pair"]:
        return metric_keeping(spliced, pairs, metric, sets, reference, batch_size=batch_size, progress=told)

    sizes = scanned_sizes(len(nodes))
    full, empty, *scanned = run([EVERYTHING, NOTHING, *(sets_of(size)[0] for size in sizes)], progress)
    scale = Scale(full, empty)
    reached = [place for place, values in enumerate(scanned) if scale.ratio(values) >= target]
    if not reached:
        return None
    low, high = (sizes[reached[0] - 1] if reached[0] else 0), sizes[reached[0]]
    while high - low > 1:
        middle = (low + high) // 2
        if scale.ratio(run([sets_of(middle)[0]])[0]) >= target:
            high = middle
        else:
            low = middle
    about = Conditions(split, reference.name, errors, metric, bootstrap)
    kept, rest = run(sets_of(high))
    return faithfulness_of(about, scale, kept, rest, high)


def scanned_sizes(nodes: int) -> list[int]:
    """Sizes from 1 to `nodes`, two for each doubling."""
    steps = 1 + 2 * math.ceil(math.log2(max(nodes, 2)))
    return sorted({round(size) for size in np.geomspace(1, nodes, steps)})
