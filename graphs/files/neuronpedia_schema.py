"""The types of the keys that are read of a graph file of Neuronpedia / circuit-tracer."""

from typing import Annotated, Any

from pydantic import Field

from graphs.files.typed_content import FileContent


class GraphNode(FileContent):
    """A node, as circuit-tracer writes it, and what `neuronpedia_write.py` adds."""

    node_id: str
    feature: int | None
    layer: str | int
    ctx_idx: int
    feature_type: str
    jsNodeId: str
    clerp: str
    influence: float | None = None
    activation: float | None = None
    token_prob: float | None = None
    jumpwire: dict[str, Any] | None = None


class GraphLink(FileContent):
    """An edge."""

    source: str
    target: str
    weight: float
    jumpwire: dict[str, Any] | None = None


class GraphMetadata(FileContent):
    """What the graph is about."""

    prompt_tokens: list[str]
    slug: str | None = None
    scan: str | None = None
    prompt: str | None = None
    node_threshold: float | None = None
    jumpwire: Annotated[dict[str, Any], Field(default_factory=dict)]


class GraphState(FileContent):
    """What a reader pinned, grouped and selected."""

    pinnedIds: list[str] | None = None
    supernodes: list[Annotated[list[str], Field(min_length=1)]] | None = None
    clickedId: str | None = None


class GraphDocument(FileContent):
    """The whole file."""

    metadata: GraphMetadata
    qParams: GraphState
    nodes: Annotated[list[GraphNode], Field(min_length=1)]
    links: list[GraphLink]
