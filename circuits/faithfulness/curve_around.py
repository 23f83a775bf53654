"""F over the size of a ranking's circuits, at sizes around that of the circuit chosen from it.

sizes: the circuit's times 1/16, 1/4, 1/2, 1, 2, 4, 16, and all
"""

from collections.abc import Sequence
from typing import Final

from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress
from circuits.faithfulness.faithfulness_curves import faithfulness_curves
from circuits.faithfulness.ranked_circuits import ordered_nodes
from circuits.ranking.aggregate import Ranking
from circuits.ranking.question import Question
from graphs import FaithfulnessCurve

_TIMES: Final = (1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 16)


def curve_around(
    size: int, ranking: Ranking, name: str, question: Question, split: str, pairs: PromptPairs, progress: Progress
) -> FaithfulnessCurve:
    """The curve of a ranking, called `name`, on one split; `size` counts the circuit's features and errors.

    Raises:
        ValueError: the ranking has a single feature or error, so its curve would be a point; F is undefined.
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
    """Rising sizes from at least 1 to `members`, the whole."""
    near = {max(1, round(size * times)) for times in _TIMES}
    return [*sorted(n for n in near if n < members), members]
