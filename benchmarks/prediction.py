"""Do the edges into a feature predict what patching its upstream nodes together does to it?

    predicted change of f_d = Σ over edges u→d from the circuit of e(u→d) · Δf_d / carried(d)
    measured change of f_d  = f_d with all those u at their patch values at once (frozen errors), minus clean f_d

    python -m benchmarks.prediction [--task T] [--pairs N] [--nodes N]

Prints the correlation of the two over the targets and pairs of a circuit of the embedded model (JumpReLU SAEs at all 12
sites), for chord edges and plain-gradient edges. They need not agree: in the measurement, everything between the
patched nodes and d computes freely, while an edge holds it fixed.
"""

import argparse
from collections.abc import Callable

import numpy as np

from attribution import (
    Edges,
    Effects,
    PromptPairs,
    SplicedModel,
    chord_edges,
    gradient_edges,
    pearson,
    position_names,
    spearman,
)
from attribution.edges.edges import METRIC_KEY
from attribution.splice.node_keys import node_of_key
from circuits import exact_patching, load_model, load_saes, logit_difference, prompt_pairs, rank_nodes, splice
from circuits.ablation.joint_patch import joint_patch
from circuits.ablation.node_names import NodeName
from circuits.ranking.positions import member_keys

EDGE_METHODS: dict[str, Callable[..., Edges]] = {"chord edges": chord_edges, "gradient edges": gradient_edges}


def predicted_changes(edges: Edges, nodes: Effects) -> dict[int, float]:
    """The change of each target feature that its edges predict, by key."""
    change = dict(zip(nodes.keys().tolist(), (nodes.patch - nodes.clean).tolist(), strict=True))
    carried = dict(zip(edges.target_key.tolist(), edges.attribution.tolist(), strict=True))
    sums: dict[int, float] = {}
    for target, weight in zip(edges.target.tolist(), edges.weight.tolist(), strict=True):
        sums[target] = sums.get(target, 0.0) + weight
    return {key: sums[key] * change[key] / carried[key] for key in sums if key in change and carried[key] != 0}


def measured_changes(
    spliced: SplicedModel, pair: PromptPairs, edges: Edges, sites: tuple[str, ...]
) -> dict[int, float]:
    """The change of each target feature when the sources of its edges are patched together, by key."""
    labels = position_names(pair)[0]

    def name(key: int) -> NodeName:
        node = node_of_key(key, sites)
        return NodeName(node.site, node.index, labels[node.position])

    found: dict[int, float] = {}
    for target in set(edges.target.tolist()) - {METRIC_KEY}:
        sources = [name(key) for key in edges.source[edges.target == target].tolist()]
        patched = joint_patch(spliced, pair, logit_difference, sources, target=name(target), error_mode="frozen")
        found[target] = float(patched.target_effect[0])
    return found


def predictions_and_truths(
    spliced: SplicedModel, pairs: PromptPairs, count: int
) -> dict[str, list[tuple[float, float]]]:
    """Predicted and measured change of every target of every pair, by method."""
    effects = exact_patching(spliced, pairs, logit_difference, error_mode="frozen")
    ranking = rank_nodes(effects, pairs, spliced.model).top(count)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in EDGE_METHODS}
    for pair in map(PromptPairs, ((pair,) for pair in pairs)):
        own = exact_patching(spliced, pair, logit_difference, error_mode="frozen")
        keys = member_keys([w.node for w in ranking.nodes], ranking.positions, pair, spliced.sites)
        nodes = own.subset(np.isin(own.keys(), keys))
        edges = {
            name: made(spliced, pair, logit_difference, nodes, sources=nodes) for name, made in EDGE_METHODS.items()
        }
        truth = measured_changes(spliced, pair, edges["chord edges"], own.sites)
        for name, of_method in edges.items():
            values = predicted_changes(of_method, nodes)
            found[name] += [(values.get(key, 0.0), change) for key, change in truth.items()]
    return found


def main() -> None:
    """Measure and print the correlations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="agreement")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--nodes", type=int, default=100)
    chosen = parser.parse_args()
    model = load_model()
    spliced = splice(model, load_saes())
    pairs = prompt_pairs(chosen.task, model, examples=chosen.pairs)
    for method, found in predictions_and_truths(spliced, pairs, chosen.nodes).items():
        values, truth = np.array(found).T
        agreement = f"Pearson {pearson(values, truth):.3f}, Spearman {spearman(values, truth):.3f}"
        print(f"{method}: {len(values)} targets in {chosen.pairs} pairs, {agreement}")


if __name__ == "__main__":
    main()
