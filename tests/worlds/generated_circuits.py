"""Circuits made up for tests of files: every field used, names and labels hostile, edges in any order."""

from typing import Any

from hypothesis import strategies as st

from graphs import CircuitGraph, Edge, ErrorNode, FeatureNode, Measurement, MetricNode, Node, Position, TokenNode
from graphs.circuit_graph import WeightedNode

HOSTILE = "</script><b>\"x\" & 'y'\\N\\n\n\r\t\x00\u202e 🙂"
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
SIZES = NUMBERS.map(abs)
COUNTS = st.integers(0, 10_000)
VERIFIED_OF = st.tuples(COUNTS, COUNTS).map(sorted)
TEXTS = st.one_of(st.text(max_size=6), st.just(HOSTILE))
WORDS = st.sampled_from(["atp", "chord-ig", "ig", "a flag", "ε"])
SITES = tuple(f"blocks.{block}.hook_{name}" for block in (0, 1) for name in ("attn_out", "resid_post"))
METRIC = MetricNode("logit_difference")
MEASURED: dict[str, Any] = {
    "method": "exact_patching",
    "metric": "logit_difference",
    "unit": "logits",
    "metric_unit": "logits",
    "sign": "positive: the metric rises",
    "error_mode": "live",
    "patch_value": "counterfactual",
    "residual_law": "none",
    "residual_median": None,
}


@st.composite
def circuits(draw: st.DrawFn) -> CircuitGraph:
    """A circuit with its metric; up to 3 positions, 7 nodes and all their edges."""
    labels = draw(st.lists(st.sampled_from(["noun", "verb é", "a/b"]), min_size=1, max_size=3, unique=True))
    place = st.integers(0, len(labels) - 1)
    some = st.one_of(
        st.builds(FeatureNode, st.sampled_from(SITES), place, st.integers(0, 2**32 - 1)),
        st.builds(ErrorNode, st.sampled_from(SITES), place),
        st.builds(TokenNode, place),
    )
    nodes: list[Node] = [*draw(st.lists(some, max_size=7, unique=True)), METRIC]
    measurement = Measurement(
        **MEASURED,
        examples=draw(COUNTS),
        total_effect=draw(NUMBERS),
        residual_max=draw(st.none() | SIZES),
        inputs={"words": draw(st.lists(TEXTS, max_size=2)), "nested": {"a": draw(NUMBERS)}},
    )
    bare = CircuitGraph(
        sites=SITES,
        positions=tuple(Position(label, draw(TEXTS), draw(TEXTS)) for label in labels),
        nodes=tuple(draw(_weighted(node)) for node in draw(st.permutations(nodes))),
        edges=(),
        measurement=measurement,
    )
    edges = tuple(draw(_edge(s, t)) for s, t in draw(st.permutations(_possible(bare))))
    return CircuitGraph(bare.sites, bare.positions, bare.nodes, edges[: draw(COUNTS)], measurement)


def _possible(circuit: CircuitGraph) -> list[tuple[Node, Node]]:
    nodes = [weighted.node for weighted in circuit.nodes]
    return [
        (s, t)
        for s in nodes
        for t in nodes
        if circuit.depth(s) < circuit.depth(t)
        and (isinstance(t, MetricNode) or (not isinstance(s, MetricNode) and s.position <= t.position))
    ]


def _weighted(node: Node) -> st.SearchStrategy[WeightedNode]:
    maybe = st.none() | NUMBERS
    return st.builds(
        lambda verified_of, **values: WeightedNode(node, verified=verified_of[0], count=verified_of[1], **values),
        VERIFIED_OF,
        effect=st.floats(-1e6, 1e6),
        mean_absolute=SIZES,
        standard_error=st.none() | SIZES,
        clean=maybe,
        patch=maybe,
        estimates=st.dictionaries(WORDS, NUMBERS, max_size=2),
        carried=maybe,
        undivided=maybe,
        flags=st.dictionaries(WORDS, COUNTS, max_size=2),
    )


def _edge(source: Node, target: Node) -> st.SearchStrategy[Edge]:
    maybe = st.none() | SIZES
    return st.builds(
        Edge,
        st.just(source),
        st.just(target),
        weight=st.floats(-1e6, 1e6),
        mean_absolute=maybe,
        standard_error=maybe,
        count=st.none() | COUNTS,
    )
