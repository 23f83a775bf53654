"""How two circuits were compared, in sentences: what was merged, left out or matched, and where F is not held out."""

from collections.abc import Sequence

from circuits.comparing.side import Side
from graphs import ErrorNode, FeatureNode
from graphs.comparison import ComparedNode

Sides = tuple[Side, Side]


def of_positions(sides: Sides, merged: tuple[bool, bool]) -> list[str]:
    """Whose positions were merged."""
    if all(merged):
        return ["The circuits have no name of a position in common: both are compared without positions."]
    return [
        f"{other.name} has no positions: those of {side.name} were merged, its effects and edges summed over them."
        for side, other, merge in zip(sides, reversed(sides), merged, strict=True)
        if merge
    ]


def of_sites(sides: Sides, common: Sequence[str]) -> list[str]:
    """How many nodes lie at sites that the other circuit does not have."""
    found: list[str] = []
    for side, other in (sides, sides[::-1]):
        own = [w.node for w in side.circuit.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
        alone = sum(node.site not in common for node in own)
        if alone:
            found.append(f"{alone} of {len(own)} nodes of {side.name} lie at sites that {other.name} does not have.")
    return found


def of_boundary(sides: Sides) -> list[str]:
    """Which circuits keep their lower layers as they are, in finding and in judging."""
    layers = {side.name: side.circuit.measurement.from_layer for side in sides}
    return [
        f"{name} was found and is judged with everything below layer {layer} as it is."
        for name, layer in layers.items()
        if layer is not None
    ]


def of_matches(sides: Sides, nodes: Sequence[ComparedNode], others: Sequence[str]) -> list[str]:
    """How many features of each circuit have a match in the other's SAEs, and how many of these in its circuit."""
    found: list[str] = []
    for side, other, own in ((*sides, "a"), (*sides[::-1], "b")):
        rows = [n for n in nodes if getattr(n, own) is not None and n.kind == "feature" and n.site in others]
        matched = [row for row in rows if row.twin is not None]
        shared = sum(row.a is not None and row.b is not None for row in matched)
        if rows:
            found.append(
                f"Of the {len(rows)} features of {side.name} there, {len(matched)} have a match in the SAEs of "
                f"{other.name}, {shared} in its circuit."
            )
    return found


def of_judging(sides: Sides) -> list[str]:
    """Where F is not held out: pairs that judge one circuit's task and have found it, or the other circuit."""
    found: list[str] = []
    for side, other in (sides, sides[::-1]):
        if side.judging is None or other.found_on is None:
            continue
        if side.judging is side.found_on:
            found.append(f"No other pairs judge {side.name}: F of its task is measured on the pairs that found it.")
        known = {pair.unordered for pair in other.found_on}
        seen = sum(pair.unordered in known for pair in side.judging)
        if seen:
            found.append(f"{seen} of {len(side.judging)} pairs that judge {side.name} have found {other.name}.")
    return found
