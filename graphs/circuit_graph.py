"""CircuitGraph: nodes and edges, checked for consistency, with what was measured and how far it can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from graphs.certificate import Certificate, certificate_from_plain
from graphs.edges import Edge
from graphs.fields.quantities import Count, Magnitude, Share, range_fault
from graphs.nodes import VARIOUS, ErrorNode, FeatureNode, MetricNode, Node, TokenNode, node_name
from graphs.notebook_display import NotebookDisplay
from graphs.plain_data import as_plain_data
from graphs.short_repr import cut, in_brief, short_repr

if TYPE_CHECKING:
    import networkx as nx

NOT_VERIFIED: Final = "not verified: effects are estimates, none was compared with exact patching"
EXACT: Final = "every effect was measured by exact patching"


@dataclass(frozen=True)
class Position:
    """A column of the graph: its name, and the tokens that the prompts have there.

    A token that all prompts share is given as it is; else the commonest with its share, as `the (62%)`, or `various`
    where none makes up half.
    """

    label: str
    clean_token: str
    patch_token: str

    @property
    def heading(self) -> str:
        """The clean token, or where the prompts' tokens are various, the label."""
        return self.label if self.clean_token in ("", VARIOUS) else self.clean_token


@dataclass(frozen=True, slots=True)
class WeightedNode:
    """A node and its effect over all examples; the graph's `Measurement` states unit and sign.

    Attributes:
        effect: signed mean over all examples; an example in which the node does not change counts as 0.
        mean_absolute: mean of |effect| over all examples; larger than |effect| where signs differ between examples.
        standard_error: of the mean; None for a single example.
        count: number of examples in which the node's clean and patch values differ.
        clean, patch: mean values in these examples (feature: activation; error: L2 norm; token: None).
        verified: number of examples in which `effect` was measured by exact patching.
        estimates: signed means of the estimates by other methods, by method.
        carried, undivided: what the node carries of the flow that the edges measure, and how much of that is its own
            undivided jump (`chord_integrated_gradients`); None where no flow was measured.
        flags: in how many examples a check flagged the estimate of the node's effect, by flag; `Measurement.flags_of`
            names the estimate.
        inclusion: share of resamples of the pairs whose circuit has the node; None where none were drawn.
        inclusion_templates: the same where whole templates are resampled.
        undecided: number of examples in which rounding decides the effect; they count as 0 in the means.
        closed_effect, open_effect: the mean with the two values of these examples; None where there are none.
    """

    __repr__ = short_repr

    node: Node
    effect: float
    mean_absolute: Magnitude
    standard_error: Magnitude | None
    count: Count
    clean: float | None
    patch: float | None
    verified: Count = 0
    estimates: Mapping[str, float] = field(default_factory=dict, hash=False)
    carried: float | None = None
    undivided: float | None = None
    flags: Mapping[str, Count] = field(default_factory=dict, hash=False)
    inclusion: Share | None = None
    inclusion_templates: Share | None = None
    undecided: Count = 0
    closed_effect: float | None = None
    open_effect: float | None = None

    @property
    def both_effects(self) -> tuple[float, float]:
        """`closed_effect` and `open_effect`; twice `effect` where no example is undecided."""
        closed, opened = (self.effect if v is None else v for v in (self.closed_effect, self.open_effect))
        return closed, opened


def undecided_in_words(weighted: WeightedNode) -> str:
    """What stands beside a node of which rounding decides an effect: in how many examples, and both means; else ""."""
    if not weighted.undecided:
        return ""
    closed, opened = weighted.both_effects
    return f", undecided in {weighted.undecided} ({closed:+.3g} or {opened:+.3g})"


@dataclass(frozen=True)
class Measurement:
    """What a graph's numbers mean: how, on what and in which units they were measured.

    Attributes:
        method: how node effects were measured.
        metric: what effects are measured on.
        unit, sign: of node effects and edge weights.
        metric_unit: of the total effect and of the residual.
        error_mode: how SAE errors were treated: `live`, `frozen` or `zero`.
        patch_value: the value that a patched node takes.
        examples: number of pairs over which means are taken.
        total_effect: mean of m(patch) − m(clean).
        residual_median, residual_max: over examples, of the absolute residual that `residual_law` defines; None where
            the method has no such law.
        residual_law: the law that effects obey, in words.
        evidence: how far the effects were verified, in words.
        ranked_by: the method by whose ranking the nodes were chosen; None where it is `method`.
        nodes_measured: number of nodes from which the circuit was chosen.
        share_kept: share of Σ |effect| of these nodes that the circuit keeps; None where it was not computed.
        edge_method: how edges were measured; None without edges.
        edge_imbalance: the largest |inflow + undivided − carried| of a node, as a share of the total effect.
        edges_measured: number of edges before any were dropped.
        pruned: number of nodes removed because no path of kept edges leads from them to the metric.
        flags_of: the estimate that the nodes' flags judge; None where no estimate was checked.
        from_layer: everything below this layer is kept as it is, in finding and in judging; None where nothing is.
        positions_vary: whether positions stand in another order in some prompts, as roles may. Edges then may lead from
            a column to one on its left.
        inputs: what the circuit was made from: models, prompts, settings, hashes.
    """

    __repr__ = short_repr

    method: str
    metric: str
    unit: str
    metric_unit: str
    sign: str
    error_mode: str
    patch_value: str
    examples: Count
    total_effect: float
    residual_median: Magnitude | None
    residual_max: Magnitude | None
    residual_law: str
    evidence: str = NOT_VERIFIED
    ranked_by: str | None = None
    nodes_measured: Count = 0
    share_kept: Share | None = None
    edge_method: str | None = None
    edge_imbalance: Magnitude | None = None
    edges_measured: Count = 0
    pruned: Count = 0
    flags_of: str | None = None
    from_layer: Count | None = None
    positions_vary: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CircuitGraph(NotebookDisplay):
    """A circuit: nodes on a grid of sites and positions, and directed edges between them.

    Args:
        sites: in the order of the forward pass; every feature and every error node lies at one of them.
        positions: in the order of the text.
        nodes, edges: unique and on the grid; edges go forward in the pass, and never backward in the text unless the
            positions change places between prompts (`Measurement.positions_vary`).
        measurement: what the numbers mean.
        certificate: how far they can be trusted; None where nothing was certified.

    Raises:
        ValueError: nodes or edges are inconsistent; the message names the first that is.
    """

    sites: tuple[str, ...]
    positions: tuple[Position, ...]
    nodes: tuple[WeightedNode, ...]
    edges: tuple[Edge, ...]
    measurement: Measurement
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        _check_unique("site", self.sites)
        _check_unique("position", [p.label for p in self.positions])
        known = {weighted.node for weighted in self.nodes}
        if len(known) != len(self.nodes):
            raise ValueError("A node occurs twice in the graph.")
        for weighted in self.nodes:
            self._check_on_grid(weighted.node)
            for name in _NODE_NUMBERS:
                if fault := range_fault(getattr(weighted, name)):
                    raise ValueError(f"{name} of {self.name(weighted.node)} is {fault}.")
            for name in ("verified", "undecided"):
                if getattr(weighted, name) > weighted.count:
                    raise ValueError(
                        f"{name} of {self.name(weighted.node)} is {getattr(weighted, name)}; expected at most its "
                        f"count, {weighted.count}."
                    )
        seen: set[tuple[Node, Node]] = set()
        for edge in self.edges:
            self._check_edge(edge, known, seen)

    def __repr__(self) -> str:
        measured = self.measurement
        certified = "not certified" if self.certificate is None else "certified"
        return cut(
            f"CircuitGraph({len(self.strongest()):,} nodes, {len(self.edges):,} edges at {len(self.sites)} sites and "
            f"{len(self.positions)} positions; {measured.metric} in {measured.unit}, {measured.method}, "
            f"{measured.examples:,} examples; {certified})"
        )

    def _check_on_grid(self, node: Node) -> None:
        if isinstance(node, FeatureNode | ErrorNode) and node.site not in self.sites:
            raise ValueError(f"Node {node} lies at a site that the graph does not list: {', '.join(self.sites)}.")
        if not isinstance(node, MetricNode) and not 0 <= node.position < len(self.positions):
            raise ValueError(
                f"Node {node} lies at a position that the graph does not have: it has {len(self.positions)}."
            )
        if isinstance(node, FeatureNode) and (fault := range_fault(node.index)):
            raise ValueError(f"The index of a feature at {node.site!r} is {fault}.")

    def _check_edge(self, edge: Edge, known: set[Node], seen: set[tuple[Node, Node]]) -> None:
        for end in (edge.source, edge.target):
            if end not in known:
                raise ValueError(f"An edge ends in {end}, which is not a node of the graph.")
        names = f"{self.name(edge.source)} -> {self.name(edge.target)}"
        if (edge.source, edge.target) in seen:
            raise ValueError(f"The edge {names} occurs twice.")
        seen.add((edge.source, edge.target))
        for name in _EDGE_NUMBERS:
            value = getattr(edge, name)
            if fault := range_fault(float(value) if isinstance(value, int) else value):
                raise ValueError(f"{name} of {names} is {fault}.")
        if self.depth(edge.source) >= self.depth(edge.target):
            raise ValueError(f"The edge {names} does not go forward in the pass.")
        source, target = edge.source, edge.target
        if isinstance(source, MetricNode) or isinstance(target, MetricNode) or self.measurement.positions_vary:
            return
        if source.position > target.position:
            raise ValueError(f"The edge {names} goes backward in the text.")

    @property
    def features(self) -> frozenset[tuple[str, int]]:
        """Site and index of every feature that has a node."""
        return frozenset((w.node.site, w.node.index) for w in self.nodes if isinstance(w.node, FeatureNode))

    def depth(self, node: Node) -> int:
        """Place in the forward pass: 0 for tokens, then 1, 2, ... for the sites, and the largest for the metric."""
        if isinstance(node, TokenNode):
            return 0
        return len(self.sites) + 1 if isinstance(node, MetricNode) else 1 + self.sites.index(node.site)

    def name(self, node: Node) -> str:
        """The node's name in files and on screen, such as `blocks.3.hook_mlp_out/117@verb`."""
        if isinstance(node, MetricNode):
            return f"metric/{node.name}"
        return node_name(node, self.positions[node.position].label)

    def node(self, name: str) -> WeightedNode:
        """The node with this name; an unknown name is a LookupError that lists some that exist."""
        for weighted in self.nodes:
            if self.name(weighted.node) == name:
                return weighted
        raise LookupError(f"The circuit has no node {in_brief(name)}. It has, among others: {self._some_names()}.")

    def _some_names(self) -> str:
        return ", ".join(self.name(w.node) for w in self.nodes[:5])

    def strongest(self, count: int | None = None) -> tuple[WeightedNode, ...]:
        """The `count` nodes with the largest |effect| (all by default), strongest first, without the metric."""
        nodes = [w for w in self.nodes if not isinstance(w.node, MetricNode)]
        return tuple(sorted(nodes, key=lambda w: (-abs(w.effect), self.name(w.node)))[:count])

    def to_networkx(self) -> "nx.DiGraph[str]":
        """A DiGraph of node names; attributes of its nodes, edges and the graph are the fields of the types here."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph(
            sites=self.sites,
            positions=[asdict(p) for p in self.positions],
            measurement=asdict(self.measurement),
            certificate=as_plain_data(self.certificate),
        )
        for weighted in self.nodes:
            values = {f.name: getattr(weighted, f.name) for f in fields(weighted) if f.name != "node"}
            graph.add_node(self.name(weighted.node), kind=weighted.node.kind, **asdict(weighted.node), **values)
        for edge in self.edges:
            values = {k: v for k, v in vars(edge).items() if k not in ("source", "target")}
            graph.add_edge(self.name(edge.source), self.name(edge.target), **values)
        return graph

    @classmethod
    def from_networkx(cls, graph: "nx.DiGraph[str]") -> "CircuitGraph":
        """The inverse of `to_networkx`; attributes that do not fit are a ValueError."""
        nodes: dict[str, WeightedNode] = {}
        for name, data in graph.nodes(data=True):
            if data.get("kind") not in _NODE_TYPES:
                raise ValueError(
                    f"Node {in_brief(name)} has kind {data.get('kind')!r}; expected one of {', '.join(_NODE_TYPES)}."
                )
            node_type = _NODE_TYPES[data["kind"]]
            own = {f.name: data[f.name] for f in fields(node_type)}
            values = {f: data[f] for f in WeightedNode.__dataclass_fields__ if f != "node" and f in data}
            nodes[name] = WeightedNode(node=node_type(**own), **values)
        certificate = graph.graph["certificate"]
        return cls(
            sites=tuple(graph.graph["sites"]),
            positions=tuple(Position(**p) for p in graph.graph["positions"]),
            nodes=tuple(nodes.values()),
            edges=tuple(Edge(nodes[s].node, nodes[t].node, **values) for s, t, values in graph.edges(data=True)),
            measurement=Measurement(**graph.graph["measurement"]),
            certificate=None if certificate is None else certificate_from_plain(certificate),
        )


def refuse_other_than_circuit(given: Any) -> None:
    """A ValueError for what is no circuit, which says where the circuit of a result is."""
    if not isinstance(given, CircuitGraph):
        inside = f": give its .circuit, a {CircuitGraph.__name__}" if hasattr(given, "circuit") else ""
        raise ValueError(f"A circuit is needed; got a {type(given).__name__}{inside}.")


def _check_unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"The {what} {twice[0]!r} occurs twice in the graph; node names would collide.")


_NODE_NUMBERS: Final = tuple(f.name for f in fields(WeightedNode) if f.name != "node")
_EDGE_NUMBERS: Final = tuple(f.name for f in fields(Edge) if f.name not in ("source", "target"))
_NODE_TYPES: Final[dict[str, type[Node]]] = {t.kind: t for t in (FeatureNode, ErrorNode, TokenNode, MetricNode)}
