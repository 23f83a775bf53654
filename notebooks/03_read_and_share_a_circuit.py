# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Read a circuit, share a circuit
#
# A circuit is only worth something if other people can read it, doubt it, and go on from it. This notebook finds a
# small circuit, looks at it in figures and in the interactive page, and writes it in formats that other tools read. It
# ends with somebody else's graph in our page. Every number is computed when the cell runs, in about half a minute.

# %%
import json
import tempfile
from pathlib import Path
from urllib.parse import urlencode

import networkx as nx
import pandas as pd

from circuits import (
    Selection,
    discover,
    embedded_corpus,
    label,
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    splice,
    write_page,
)
from graphs import (
    FeatureNode,
    circuit_estimates,
    circuit_figure,
    effect_by_position,
    faithfulness_by_split,
    findings,
    keep_edges,
    read_graphml,
    read_neuronpedia,
    read_tables,
    write_dot,
    write_graphml,
    write_neuronpedia,
    write_tables,
)

# %% [markdown]
# ## Find it
#
# Twelve pairs of the agreement task, JumpReLU SAEs at all 12 sites, errors *frozen*, so that the encoders' gates are in
# the computation. The 60 strongest nodes by chord IG are kept; each effect is exact.

# %%
model = load_model()
spliced = splice(model, load_saes("jumprelu"))
pairs = prompt_pairs("agreement", model, split="train", examples=12)
splits = {
    split: prompt_pairs("agreement", model, split=split, examples=12) for split in ("held_out", "out_of_distribution")
}
found = discover(
    spliced,
    pairs,
    logit_difference,
    error_mode="frozen",
    select=Selection(nodes=60),
    rank_by="chord-ig",
    splits=splits,
    explained=4,
)
circuit = found.circuit
features = sorted({(n.site, n.index) for n in (w.node for w in circuit.nodes) if isinstance(n, FeatureNode)})
labels = label(spliced, features, embedded_corpus(model))
circuit

# %% [markdown]
# A circuit shows its certificate before its nodes: that is the order to read it in. It also says what was *not*
# measured.
#
# ## Look at it
#
# The grid: sites upwards, positions to the right, green raises the metric and purple lowers it.

# %%
circuit_figure(circuit)

# %% [markdown]
# Where does it happen? The sum of |effect| by site and position: at the subject up to layer 2, at the last word from
# layer 3 on, and nothing between them.

# %%
effect_by_position(circuit, absolute=True)

# %% [markdown]
# How many nodes does the task need? Faithfulness over size, of the ranking that the circuit was taken from. Sixty nodes
# are a story, not the whole mechanism, and the certificate says so.

# %%
certificate = circuit.certificate
assert certificate is not None
faithfulness_by_split(certificate.curves, certificate.faithfulness)

# %% [markdown]
# What would the usual estimates have said of these same nodes?

# %%
circuit_estimates(circuit)

# %% [markdown]
# Where the checker was asked why (`explained=4`), each finding says how much of the error is a jump: a gate downstream
# that flips on the way, which no derivative sees.

# %%
assert found.checked is not None
for name, flags in findings(circuit, found.checked).items():
    if flags[0].trace is not None:
        flagged = flags[0].verdict
        print(f"{name:<40} IG {flagged.estimate:+.2f}  exact {flagged.exact:+.2f}  {flagged.flag}, by {flagged.cause}")

# %% [markdown]
# ## The page
#
# One HTML file, which works from disk and asks nothing of the network. It opens with the certificate; click a node to
# trace it, again to pin it; `?` lists the keys.

# %%
folder = Path(tempfile.mkdtemp())
page = folder / "agreement.html"
write_page(circuit, page, title="agreement", labels=labels, verdict=found.checked)
print(f"{page.name}: {page.stat().st_size / 1000:.0f} kB, {len(circuit.nodes)} nodes, {len(circuit.edges)} edges")

# %% [markdown]
# ![The page: the certificate beside the circuit](images/page.png)
#
# What the reader chooses is in the address: a link opens the page at a node, a filter, a group. The link below opens it
# at the strongest feature.

# %%
strongest = next(w for w in circuit.strongest() if isinstance(w.node, FeatureNode))
name = circuit.name(strongest.node)
print(f"{page.name}#{urlencode({'node': name, 'tab': 'node'})}")

# %% [markdown]
# Nodes can be grouped before the page is written, as with the mouse: here the attention outputs of layer 3 that carry
# the subject's number to the last word. Weights of edges are added up; the group can be opened again in the page.

# %%
readers = [circuit.name(w.node) for w in circuit.nodes if getattr(w.node, "site", "") == "blocks.3.hook_attn_out"]
write_page(circuit, page, title="agreement", labels=labels, supernodes=[("number of the subject", readers)])
print(f"{len(readers)} nodes in one")

# %% [markdown]
# ![A supernode, traced](images/page_supernode.png)
#
# ## Share it
#
# Neuronpedia and circuit-tracer read this JSON; what their format has no place for (exact effects, estimates, flags,
# the certificate) travels in extra keys, so the way back gives the same circuit.

# %%
write_neuronpedia(
    circuit, folder / "graph.json", slug="agreement", scan="embedded", labels=labels, supernodes=[("number", readers)]
)
back = read_neuronpedia(folder / "graph.json")
print("the same circuit:", back.circuit == circuit, "| supernodes:", [name for name, _ in back.supernodes])

# %% [markdown]
# GraphML and Parquet hold the whole circuit too; DOT is a drawing.

# %%
write_graphml(circuit, folder / "circuit.graphml")
write_tables(circuit, folder / "tables")
write_dot(circuit, folder / "circuit.dot", labels=labels)
print(read_graphml(folder / "circuit.graphml") == circuit, read_tables(folder / "tables") == circuit)
edges = pd.read_parquet(folder / "tables" / "edges.parquet")
edges.sort_values("weight", key=abs, ascending=False)[["source", "target", "weight", "standard_error"]].head()

# %% [markdown]
# In networkx every question about graphs is a line. Which nodes does most of the flow into the metric pass?

# %%
graph = circuit.to_networkx()
carried = {name: abs(data["carried"] or 0.0) for name, data in graph.nodes(data=True) if data["kind"] == "feature"}
print(nx.is_directed_acyclic_graph(graph), sorted(carried, key=carried.__getitem__, reverse=True)[:3])

# %% [markdown]
# A smaller file leaves edges out, and says what they carried.

# %%
fewer, left_out = keep_edges(circuit, 150)
print(left_out.sentence)

# %% [markdown]
# ## Read somebody else's
#
# A graph as circuit-tracer writes it: one feature that reads a token and writes to a logit. It opens in the same page.
# Nothing in it was patched, so its evidence says that its effects are shares of influence, not measurements.

# %%
nodes = (
    ("E_3_1", 3, "E", "embedding", "Emb: cat"),
    ("0_7_1", 7, "0", "cross layer transcoder", "pets"),
    ("1_9_1", 9, "1", "logit", 'Output " sat" (p=0.4)'),
)
keys = ("node_id", "feature", "layer", "feature_type", "clerp")
theirs = {
    "metadata": {"slug": "tiny", "scan": "gemma-2-2b", "prompt_tokens": ["The", " cat"], "prompt": "The cat"},
    "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
    "nodes": [{**dict(zip(keys, node, strict=True)), "ctx_idx": 1, "jsNodeId": node[0]} for node in nodes],
    "links": [
        {"source": "E_3_1", "target": "0_7_1", "weight": 2.0},
        {"source": "0_7_1", "target": "1_9_1", "weight": 1.5},
    ],
}
(folder / "theirs.json").write_text(json.dumps(theirs))
opened = read_neuronpedia(folder / "theirs.json")
write_page(opened.circuit, folder / "theirs.html", title="tiny", labels=opened.labels)
print(opened.circuit.measurement.evidence)

# %% [markdown]
# The same from the command line:
#
#     jumpwire find --out out/agreement
#     jumpwire export out/agreement --neuronpedia graph.json --graphml circuit.graphml --max-edges 150
#     jumpwire export theirs.json --html theirs.html
