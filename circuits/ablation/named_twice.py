"""Nodes that are named twice: `@2` and `@subject` where the subject stands at 2, `@-1` and the last position's name.

Naming a node twice changes nothing: it is edited, or kept, once. But whoever does it takes it for two nodes.
"""

from collections.abc import Sequence
from itertools import combinations

from circuits.ablation.node_names import NodeName, PositionNames
from graphs.cautions import Caution


def named_twice(
    names: Sequence[NodeName], labels: PositionNames, what_happens: str = "it counts once"
) -> tuple[Caution, ...]:
    """A caution for every two names that mean the same node, or a part of it, in some prompt.

    Args:
        names: of the nodes, as they were given.
        labels: the names of the positions of each prompt.
        what_happens: to such a node, in words.
    """
    alike: dict[tuple[str, int], list[NodeName]] = {}
    for name in names:
        alike.setdefault((name.site, name.index), []).append(name)
    found: list[Caution] = []
    for own in alike.values():
        for one, other in combinations(own, 2):
            shared = sum(bool(_places(one, row) & _places(other, row)) for row in labels)
            if shared:
                found.append(_caution(one, other, shared, len(labels), what_happens))
    return tuple(found)


def _places(name: NodeName, labels: Sequence[str]) -> set[int]:
    return set(range(len(labels)) if name.position is None else name.columns(labels))


def _caution(one: NodeName, other: NodeName, shared: int, prompts: int, what_happens: str) -> Caution:
    what = f"{one} is named twice" if one == other else f"{one} and {other} name the same node"
    where = "" if shared == prompts else f" in {shared:,} of {prompts:,} prompts"
    figures = {"shared": shared, "pairs": prompts}
    return Caution("node_named_twice", str(one), figures, f"{what}{where}; {what_happens}. Name it once.")
