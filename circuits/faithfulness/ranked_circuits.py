"""The circuits of a ranking: its first nodes, by |effect| or by signed score, and random circuits of the same sizes.

    absolute   by falling |effect|            (MIB's order for CMD)
    signed     by falling score −effect       (MIB's order for CPR)

An effect is positive if the metric rises when the node takes its patch value. A node that the task needs therefore has
a negative effect, and MIB's signed score, which is large for nodes that help, is −effect. `activation_difference` and
random rankings have no sign; both orders leave them as they are. Tokens are inputs and belong to no circuit here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from attribution.effects.metric_keeping import ALL_ERRORS, ErrorChoice, Kept
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from circuits.ranking.aggregate import Ranking
from circuits.ranking.positions import member_keys
from graphs import ErrorNode, FeatureNode, Node, Position
from graphs.short_repr import in_brief

RankingOrder = Literal["absolute", "signed"]
RANDOM: Final = "random"
UNSIGNED: Final = ("activation_difference", RANDOM)


def ordered_nodes(
    ranking: Ranking, order: RankingOrder = "absolute", errors: ErrorChoice = "nodes"
) -> tuple[Node, ...]:
    """The nodes that a circuit may consist of, best first: features, and errors if they are kept by node."""
    if order not in ("absolute", "signed"):
        raise ValueError(f"No order {order!r}. Orders: absolute, signed.")
    kinds = (FeatureNode, ErrorNode) if errors == "nodes" else (FeatureNode,)
    weighted = [w for w in ranking.nodes if isinstance(w.node, kinds)]
    if not weighted:
        raise ValueError(f"The ranking of {ranking.method} has no node that a circuit could consist of.")
    if order == "signed" and ranking.method not in UNSIGNED:
        weighted.sort(key=lambda w: w.effect)
    return tuple(w.node for w in weighted)


def random_rankings(ranking: Ranking, draws: int = 5, seed: int = 0) -> tuple[Ranking, ...]:
    """The same nodes in random order, `draws` times: circuits of equal size that no method chose."""
    found: list[Ranking] = []
    for draw in np.random.default_rng(seed).spawn(draws):
        order = draw.permutation(len(ranking.nodes))
        found.append(replace(ranking, method=RANDOM, nodes=tuple(ranking.nodes[int(n)] for n in order)))
    return tuple(found)


def size_of_share(share: float, nodes: int) -> int:
    """The number of nodes that a share of a ranking is: rounded, and at least 1."""
    return max(1, round(share * nodes))


def circuit_and_rest(
    nodes: Iterable[Node], positions: Sequence[Position], pairs: PromptPairs, spliced: SplicedModel, errors: ErrorChoice
) -> tuple[Kept, Kept]:
    """C and M∖C in these prompts."""
    if errors not in ALL_ERRORS:
        raise ValueError(f"No choice of errors {in_brief(errors)}. Choices: {', '.join(ALL_ERRORS)}.")
    keys, all_errors = member_keys(nodes, positions, pairs, spliced.sites, spliced.unspliced_bos), ALL_ERRORS[errors]
    return Kept(keys, all_errors=all_errors), Kept(keys, complement=True, all_errors=all_errors)


def model_and_nothing(errors: ErrorChoice) -> tuple[Kept, Kept]:
    """M and M∖M, which share 1 stands for, with errors as chosen."""
    none, all_errors = np.zeros(0, np.int64), ALL_ERRORS[errors]
    return Kept(none, complement=True, all_errors=all_errors), Kept(none, all_errors=all_errors)
