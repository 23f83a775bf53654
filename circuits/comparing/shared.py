"""The nodes and edges of two circuits as one list of each: which circuits have them, with which effects.

A node is known by its kind, its site, its feature and the name of its position; features of different SAEs by their
match.
"""

from collections.abc import Mapping, Sequence

from circuits.comparing.matching import Match
from graphs import CircuitGraph, ErrorNode, FeatureNode, MetricNode, Node, TokenNode, WeightedNode
from graphs.comparison import ComparedEdge, ComparedNode

Matches = Mapping[str, tuple[Match, ...]]
"""Matched features by site."""
_Key = tuple[str, ...]
_OwnEdge = tuple[tuple[str, str], float]
"""Names of source and target in one circuit, and the weight there."""


class _Names:
    """What each node of a circuit is in both circuits, and its match."""

    def __init__(self, circuit: CircuitGraph, others: Sequence[str], matches: Matches, *, first: bool) -> None:
        self.circuit, self.others, self.first = circuit, others, first
        self.match = {(site, m.a if first else m.b): m for site, own in matches.items() for m in own}

    def key(self, node: Node) -> _Key:
        if isinstance(node, MetricNode):
            return (node.kind,)
        label = self.circuit.positions[node.position].label
        if isinstance(node, TokenNode):
            return (node.kind, label)
        return (node.kind, node.site, self._number(node) if isinstance(node, FeatureNode) else "", label)

    def _number(self, node: FeatureNode) -> str:
        """A's number of the feature; with a mark where A's SAE has no such feature."""
        if self.first or node.site not in self.others:
            return str(node.index)
        match = self.match.get((node.site, node.index))
        return f"{node.index} of b" if match is None else str(match.a)

    def match_of(self, node: Node) -> Match | None:
        return self.match.get((node.site, node.index)) if isinstance(node, FeatureNode) else None


def compared_nodes(
    a: CircuitGraph, b: CircuitGraph, others: Sequence[str], matches: Matches
) -> tuple[ComparedNode, ...]:
    """The features and errors of either circuit. At the sites in `others` their SAEs differ."""
    found: dict[_Key, list[WeightedNode | None]] = {}
    names = [_Names(circuit, others, matches, first=n == 0) for n, circuit in enumerate((a, b))]
    for n, (circuit, own) in enumerate(zip((a, b), names, strict=True)):
        for weighted in circuit.nodes:
            if isinstance(weighted.node, FeatureNode | ErrorNode):
                found.setdefault(own.key(weighted.node), [None, None])[n] = weighted
    rows = [_node(names, *pair) for pair in found.values()]
    return tuple(sorted(rows, key=lambda row: (_place(row.effect_a, row.effect_b), row.a or "", row.b or "")))


def _place(one: float | None, two: float | None) -> tuple[bool, float]:
    """Shared rows first, by falling mean |value|."""
    return one is None or two is None, -(abs(one or 0.0) + abs(two or 0.0))


def _node(names: Sequence[_Names], one: WeightedNode | None, two: WeightedNode | None) -> ComparedNode:
    side, weighted = (names[0], one) if one is not None else (names[1], two)
    assert weighted is not None
    node = weighted.node
    assert isinstance(node, FeatureNode | ErrorNode)
    match = side.match_of(node)
    return ComparedNode(
        a=None if one is None else names[0].circuit.name(one.node),
        b=None if two is None else names[1].circuit.name(two.node),
        kind=node.kind,
        site=node.site,
        position=side.circuit.positions[node.position].label,
        effect_a=None if one is None else one.effect,
        effect_b=None if two is None else two.effect,
        twin=None if match is None else f"{node.site}/{match.b if side.first else match.a}",
        cosine=None if match is None else match.cosine,
        correlation=None if match is None else match.correlation,
    )


def compared_edges(
    a: CircuitGraph, b: CircuitGraph, others: Sequence[str], matches: Matches
) -> tuple[ComparedEdge, ...]:
    """The edges of either circuit."""
    found: dict[tuple[_Key, _Key], list[_OwnEdge | None]] = {}
    for n, circuit in enumerate((a, b)):
        names = _Names(circuit, others, matches, first=n == 0)
        for edge in circuit.edges:
            ends = circuit.name(edge.source), circuit.name(edge.target)
            key = names.key(edge.source), names.key(edge.target)
            found.setdefault(key, [None, None])[n] = ends, edge.weight
    rows = [_edge(*pair) for pair in found.values()]
    return tuple(sorted(rows, key=lambda e: (_place(e.weight_a, e.weight_b), e.a or ("",), e.b or ("",))))


def _edge(one: _OwnEdge | None, two: _OwnEdge | None) -> ComparedEdge:
    a, b = ((None, None) if own is None else own for own in (one, two))
    return ComparedEdge(a[0], b[0], a[1], b[1])
