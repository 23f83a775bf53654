"""The rules that Neuronpedia / circuit-tracer set for a graph file, and functions that list every broken one.

metadata    slug, scan: A-Z a-z 0-9 _ . -        prompt, prompt_tokens       node_threshold: see influence
qParams     pinnedIds: [node_id]                 supernodes: [[name, node_id, ...]]
nodes       node_id: unique                      layer: a number, or "E" for tokens
            ctx_idx: index into prompt_tokens    feature_type: one of `FEATURE_TYPES`
            clerp: the label; that of a logit contains its weight, as in (p=0.123)
            influence: the share of the total up to and including this node, strongest first, so that small means
            important; every node except logits has one if metadata has a node_threshold, otherwise none
links       source, target: node_ids             weight: finite
the file    at most 100 MB
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from graphs.fields.type_faults import shortened
from graphs.files.neuronpedia_schema import GraphDocument
from graphs.files.typed_content import typed

FEATURE: Final = "cross layer transcoder"
ERROR: Final = "mlp reconstruction error"
TOKEN: Final = "embedding"
LOGIT: Final = "logit"
FEATURE_TYPES: Final = (FEATURE, ERROR, TOKEN, LOGIT)
TOKEN_LAYER: Final = "E"
WEIGHT_OF_LOGIT: Final = re.compile(r"\(p=(\d{1,9}(?:\.\d{1,99})?)\)")
MOST_BYTES: Final = 100_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


def broken_rules(document: Any, *, size: int = 0) -> list[str]:
    """Every rule that a document breaks, one sentence each; `size` is the size of its file in bytes."""
    found = structural_faults(document)
    if found:
        return found
    ids = {node["node_id"] for node in document["nodes"]}
    found = [*_metadata(document["metadata"]), *_saved_state(document["qParams"], ids)]
    threshold = document["metadata"].get("node_threshold")
    for node in document["nodes"]:
        found += _published(node, has_threshold=threshold is not None)
    if size > MOST_BYTES:
        found.append(f"the file has {size / 1e6:.0f} MB; Neuronpedia accepts at most {MOST_BYTES / 1e6:.0f} MB.")
    return found


def structural_faults(document: Any) -> list[str]:
    """The broken rules that keep a document from being read as a graph, one sentence each."""
    try:
        tokens = len(typed(GraphDocument, document).metadata.prompt_tokens)
    except ValueError as error:
        return [f"{error}."]
    found = [fault for node in document["nodes"] for fault in _node(node, tokens)]
    if found:
        return found
    count = Counter(node["node_id"] for node in document["nodes"])
    found = [f"the node_id {name!r} occurs {times} times." for name, times in count.items() if times > 1]
    return found + [fault for n, link in enumerate(document["links"]) for fault in _link(link, n, count)]


def _metadata(metadata: Mapping[str, Any]) -> Iterator[str]:
    for name in ("slug", "scan"):
        if not isinstance(metadata.get(name), str) or not _NAME.fullmatch(metadata[name]):
            yield f"{name} {metadata.get(name)!r} is not made of A-Z, a-z, 0-9, _, . and - only."
    if not isinstance(metadata.get("prompt"), str):
        yield "metadata.prompt is not a string."


def _saved_state(state: Mapping[str, Any], ids: set[str]) -> Iterator[str]:
    groups = state.get("supernodes") or []
    for group in groups:
        if len(group) < 2:
            yield f"the supernode {group!r} has no nodes."
    named = [*(state.get("pinnedIds") or []), *(name for group in groups for name in group[1:])]
    for name in dict.fromkeys(named):
        if name not in ids:
            yield f"{name!r} is pinned or in a supernode, but is not a node."


def _node(node: Mapping[str, Any], tokens: int) -> Iterator[str]:
    if not re.fullmatch(r"\d{1,9}", str(node["layer"])) and node["layer"] != TOKEN_LAYER:
        yield f"{node['node_id']!r} has layer {shortened(node['layer'])}; a layer is a number or {TOKEN_LAYER!r}."
    if not 0 <= node["ctx_idx"] < tokens:
        yield f"{node['node_id']!r} has ctx_idx {node['ctx_idx']}; the prompt has {tokens} tokens."


def _published(node: Mapping[str, Any], *, has_threshold: bool) -> Iterator[str]:
    name, kind = node["node_id"], node["feature_type"]
    if kind not in FEATURE_TYPES:
        yield f"{name!r} has feature_type {kind!r}; Neuronpedia shows {', '.join(FEATURE_TYPES)} only."
    if kind == LOGIT and not WEIGHT_OF_LOGIT.search(node["clerp"]):
        yield f"the clerp {node['clerp']!r} of the logit {name!r} lacks its weight, as in (p=0.123)."
    if kind != LOGIT and has_threshold != (node.get("influence") is not None):
        yield f"{name!r}: influence and node_threshold must either both be present or both be absent."


def _link(link: Mapping[str, Any], place: int, ids: Mapping[str, int]) -> Iterator[str]:
    for end in ("source", "target"):
        if link[end] not in ids:
            yield f"links[{place}] has {end} {link[end]!r}, which is not a node."
