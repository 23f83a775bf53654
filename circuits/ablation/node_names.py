"""Nodes by name: `blocks.3.hook_mlp_out/117@verb`, `blocks.3.hook_mlp_out/error@3`, `token@subject`.

After `@` comes the name of a position, its number, counted from 0, or its distance from the end, as -1. Without `@`, or
with `@everywhere`, the name means the node at every position. Nodes in a circuit file have the same names. Where SAEs
are at one site only, its features may be named by their numbers alone: `117@verb`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Bool
from torch import Tensor

from attribution.models.language_model import LanguageModel
from attribution.splice.edits import ERROR, EVERYWHERE, SiteNodes
from attribution.splice.spliced_model import TOKENS, SplicedModel
from graphs import CircuitGraph, ErrorNode, FeatureNode, MetricNode, Position, TokenNode
from graphs.nodes import EVERYWHERE as EVERYWHERE_LABEL

PositionNames = Sequence[Sequence[str]]
"""The name of each position of each prompt."""


@dataclass(frozen=True)
class NodeName:
    """A node by site, index (`ERROR` for errors and tokens) and position (a name, a number, or None for all)."""

    site: str
    index: int
    position: str | int | None

    @property
    def is_token(self) -> bool:
        return self.site == TOKENS

    @property
    def is_error(self) -> bool:
        return self.index == ERROR and not self.is_token

    def everywhere(self) -> "NodeName":
        """The same node at every position."""
        return replace(self, position=None)

    def columns(self, labels: Sequence[str]) -> tuple[int, ...]:
        """The positions of the node in a prompt with these names; `EVERYWHERE` stands for all."""
        if self.position is None:
            return (EVERYWHERE,)
        if self.position == EVERYWHERE_LABEL:  # of a token, which no splice expands
            return tuple(range(len(labels)))
        if isinstance(self.position, int):
            return (self.position,) if self.position < len(labels) else ()
        if self.position in labels:
            return (labels.index(self.position),)
        if re.fullmatch(r"-\d+", self.position) and -int(self.position) <= len(labels):
            return (len(labels) + int(self.position),)
        return ()

    def __str__(self) -> str:
        name = "token" if self.is_token else f"{self.site}/{'error' if self.is_error else self.index}"
        return name if self.position is None else f"{name}@{self.position}"


def parse_node(text: str, spliced: SplicedModel) -> NodeName:
    """The node with this name. Its site and index are checked; a name that is wrong is a ValueError or LookupError."""
    site, index, position = parts_of(text)
    if not index:
        return NodeName(TOKENS, ERROR, position)
    *others, only = spliced.sites
    if not site and others:
        raise ValueError(
            f"{text!r} names no site, and SAEs are at {len(spliced.sites)}. Write {only}/{text}, or splice SAEs in at "
            "one site only (--sites)."
        )
    site = spliced.site(site or only)
    if index != "error" and int(index) >= (d_sae := spliced.saes[site].d_sae):
        raise ValueError(f"{text!r}: the SAE there has features 0 to {d_sae - 1}.")
    everywhere = position in ("", EVERYWHERE_LABEL)
    return NodeName(site, ERROR if index == "error" else int(index), None if everywhere else position)


def parts_of(text: str) -> tuple[str, str, str]:
    """Site, index and position of a node's name; a ValueError if it is no name.

    A token has the site `TOKENS` and no index; a feature that is named by its number alone has the site "".
    """
    name, _, position = text.partition("@")
    if text.endswith("@"):
        raise ValueError(f"{text!r}: a position's name or number must follow the @.")
    if name == "token":
        if not position:
            raise ValueError("'token' needs a position, as in token@3.")
        return TOKENS, "", position
    if name.isdecimal():
        return "", name, position
    site, _, index = name.rpartition("/")
    if not site or not (index == "error" or index.isdecimal()):
        raise ValueError(
            f"{text!r} is no node. Nodes are named like blocks.2.hook_resid_post/117, "
            "blocks.2.hook_resid_post/error@3 or token@subject."
        )
    return site, index, position


def parse_nodes(texts: Sequence[str], spliced: SplicedModel, labels: PositionNames) -> tuple[NodeName, ...]:
    """The nodes with these names. Each must occur in one of the prompts, whose position names are `labels`."""
    known = dict.fromkeys(label for own in labels for label in own)
    names = tuple(_numbered(parse_node(text, spliced), known) for text in texts)
    for name in names:
        if not any(name.columns(own) for own in labels):
            raise LookupError(
                f"{name}: no prompt has that position. Positions: 0 to {max(map(len, labels)) - 1}, by name "
                f"{', '.join(known)}."
            )
    return names


def _numbered(name: NodeName, known: Mapping[str, None]) -> NodeName:
    """If the position is a number, and no prompt has it as a name, the node with that number as position."""
    position = name.position
    if isinstance(position, str) and position not in known and position.isdecimal():
        return replace(name, position=int(position))
    return name


def circuit_names(circuit: CircuitGraph, spliced: SplicedModel) -> tuple[NodeName, ...]:
    """The names of a circuit's nodes, the strongest first. A site without an SAE is a LookupError."""
    nodes = [weighted.node for weighted in circuit.strongest()]
    return tuple(node_name_of(n, circuit.positions, spliced) for n in nodes if not isinstance(n, MetricNode))


def node_name_of(
    node: FeatureNode | ErrorNode | TokenNode, positions: Sequence[Position], spliced: SplicedModel
) -> NodeName:
    """The name of a node of a graph, with its position by name: prompts that the graph is not of may have it too."""
    label = positions[node.position].label
    if label == EVERYWHERE_LABEL and not isinstance(node, TokenNode):
        return NodeName(spliced.site(node.site), node.index if isinstance(node, FeatureNode) else ERROR, None)
    if isinstance(node, TokenNode):
        return NodeName(TOKENS, ERROR, label)
    return NodeName(spliced.site(node.site), node.index if isinstance(node, FeatureNode) else ERROR, label)


def token_roles(ids: Sequence[int], model: LanguageModel) -> tuple[str, ...]:
    """Names for the positions of any text: the token itself if it occurs once, else its number."""
    texts = [text.strip() for text in model.shown_tokens(ids)]
    return tuple(
        text if text and not text.isdecimal() and texts.count(text) == 1 else str(n) for n, text in enumerate(texts)
    )


def site_nodes(
    names: Sequence[NodeName | None],
    labels: PositionNames,
    spliced: SplicedModel,
    here: Bool[Tensor, "row pos"] | None = None,
) -> Mapping[str, SiteNodes]:
    """The places of features and errors in a batch of prompts, by site. A node's number is its index in `names`.

    With `here`, the spliced positions, places that are not spliced are left out.
    """
    inside = None if here is None else here.tolist()
    entries: dict[str, list[tuple[int, int, int, int]]] = {site: [] for site in spliced.sites}
    for number, name in enumerate(names):
        if name is None or name.is_token:
            continue
        rows = [(EVERYWHERE, ())] if name.position is None else enumerate(labels)
        for row, own in rows:
            places = [p for p in name.columns(own) if inside is None or p == EVERYWHERE or inside[row][p]]
            entries[name.site] += [(number, row, pos, name.index) for pos in places]
    device = spliced.model.device
    return {site: SiteNodes.of(own, device) for site, own in entries.items()}


def token_places(names: Sequence[NodeName], labels: PositionNames) -> list[tuple[int, int, int]]:
    """(number of the node, row, position) of every token node in a batch of prompts."""
    return [
        (number, row, pos)
        for number, name in enumerate(names)
        if name.is_token
        for row, own in enumerate(labels)
        for pos in name.columns(own)
    ]
