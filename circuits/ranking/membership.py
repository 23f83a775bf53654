"""Where the nodes of a circuit stand in given prompts: by the name of their position.

A circuit found on some prompts is a set of (site, feature or error or token, position name). In another prompt the
same node stands wherever a position has that name; a prompt without such a position does not have the node.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import KINDS, node_keys
from attribution.splice.spliced_model import TOKENS
from graphs import FeatureNode, MetricNode, Node, Position, TokenNode


def member_keys(
    nodes: Iterable[Node], positions: Sequence[Position], pairs: PromptPairs, sites: Sequence[str]
) -> np.ndarray:
    """Keys, as `Effects.keys` has them and sorted, of the nodes in every pair that has their position.

    Args:
        nodes: of a circuit or a ranking; the metric is passed over.
        positions: the circuit's; nodes hold places in it.
        pairs: any prompts whose positions have names.
        sites: the spliced sites, in the order of the forward pass.

    Raises:
        LookupError: a node at a site that is not spliced.
    """
    places = {name: n for n, name in enumerate((TOKENS, *sites))}
    at: dict[str, list[tuple[int, int, int]]] = {}
    for node in nodes:
        if isinstance(node, MetricNode):
            continue
        site = TOKENS if isinstance(node, TokenNode) else node.site
        if site not in places:
            raise LookupError(f"No SAE is spliced in at {site!r}. Spliced sites: {', '.join(sites)}.")
        column = places[site], KINDS.index(node.kind), node.index if isinstance(node, FeatureNode) else -1
        at.setdefault(positions[node.position].label, []).append(column)
    standing = _standing(pairs)
    parts = [_everywhere(np.array(own), *standing[label]) for label, own in at.items() if label in standing]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def _everywhere(nodes: np.ndarray, example: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Keys of every node (site, kind, index) at every one of these places."""
    site, kind, index = (np.repeat(column, len(example)) for column in nodes.T)
    example, position = (np.tile(places, len(nodes)) for places in (example, position))
    return node_keys(example, position, index, site=site, kind=kind)


def _standing(pairs: PromptPairs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per position name, the examples and positions that carry it."""
    found: dict[str, list[tuple[int, int]]] = {}
    for example, names in enumerate(position_names(pairs)):
        for position, name in enumerate(names):
            found.setdefault(name, []).append((example, position))
    return {name: (np.array(places)[:, 0], np.array(places)[:, 1]) for name, places in found.items()}
