"""How many nodes does a circuit need? The iterated mask path beside the rankings of every method.

    python -m benchmarks.circuits_found [--train N] [--judge N] [--sites KIND] [--from-layer L]
                                        [--model FOLDER --saes FOLDER --pairs FILE]

Nodes are ordered on training pairs. The table gives the fewest first nodes of each order with F >= .5, .8 and .9, on
the training pairs and on pairs that judge; sizes are scanned, eight for each doubling. Everything outside takes its
counterfactual value, errors are nodes. By default: agreement in the embedded model, at all 12 sites with roles and
at 4 residual sites without positions, judged on held-out words. With a model of your own: nodes without positions, the
last pairs of the file judge. `--sites` and `--from-layer` take one kind of sites (residual ones by default), and those
of some layers, without positions, in place of both cases.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attribution import METHODS, PromptPairs, SplicedModel
from attribution.prompts.position_names import PositionScheme
from attribution.splice import references
from circuits import (
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    rank_nodes,
    splice,
)
from circuits.ranking.aggregate import Ranking
from circuits.selection.iterated import iterate
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions
from graphs import ErrorNode, FeatureNode

TARGETS = (0.5, 0.8, 0.9)
RANKINGS = {
    "exact, live": "exact",
    "AtP": "atp",
    "IG, site path": "ig",
    "chord IG": "chord-ig",
    "mask path, once": "mask-path",
}
"""Rankings in the table, and the method of each."""


def sizes_needed(order: np.ndarray, sets: NodeSets) -> list[str]:
    """The fewest first nodes of an order with each target's F; a dash where no scanned size has it."""
    steps = 8 * int(np.ceil(np.log2(len(order)))) + 1
    sizes = np.unique(np.geomspace(1, len(order), steps).round().astype(int))
    left, found = list(TARGETS), list[str]()
    for size in sizes:
        chosen = np.zeros(len(order), bool)
        chosen[order[:size]] = True
        while left and sets.faithfulness(chosen) >= left[0]:
            found.append(f"{size:,}")
            left.pop(0)
        if not left:
            break
    return found + ["–"] * len(left)


def compare(spliced: SplicedModel, train: PromptPairs, judge: PromptPairs, scheme: PositionScheme) -> None:
    """Print the table of one case."""
    first: Ranking | None = None
    orders: dict[str, tuple[np.ndarray, float]] = {}
    nodes: Sequence[FeatureNode | ErrorNode] = ()
    for name, method in RANKINGS.items():
        start = time.process_time()
        ranking = rank_nodes(METHODS[method](spliced, train, logit_difference), train, spliced.model, scheme=scheme)
        own = [w.node for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
        if first is None:
            first, nodes = ranking, own
        place = {node: n for n, node in enumerate(nodes)}
        order = np.array([place[node] for node in own if node in place])
        orders[name] = np.concatenate([order, np.setdiff1d(np.arange(len(nodes)), order)]), time.process_time() - start
    assert first is not None

    def sets(pairs: PromptPairs) -> NodeSets:
        return NodeSets(spliced, pairs, logit_difference, references.counterfactual, nodes, first.positions)

    start = time.process_time()
    found = iterate(sets(train), Directions([sets(own) for own in both_directions(train)]), None, refine=False)
    orders["**iterated mask path**"] = np.argsort(-found.order, kind="stable"), time.process_time() - start
    orders["random"] = np.random.default_rng(0).permutation(len(nodes)), 0.0
    everything = np.ones(len(nodes), bool)
    print(
        f"\n{len(nodes):,} nodes at {len(spliced.sites)} sites, positions: {scheme}; {len(train)} training pairs, "
        f"{len(judge)} that judge; F of all nodes on these {sets(judge).faithfulness(everything):.2f}\n"
    )
    print("| order | training pairs: F ≥ .5 / .8 / .9 | judging pairs: F ≥ .5 / .8 / .9 | CPU s |")
    print("| --- | --- | --- | --- |")
    for name, (order, seconds) in orders.items():
        own, other = (" / ".join(sizes_needed(order, sets(pairs))) for pairs in (train, judge))
        print(f"| {name} | {own} | {other} | {seconds:.0f} |", flush=True)


def part_of(spliced: SplicedModel, options: argparse.Namespace) -> SplicedModel:
    """The splice at the sites and layers asked for."""
    part = spliced.at_sites(options.sites or "resid_post")
    return part if options.from_layer is None else part.from_layer(options.from_layer)


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=32, help="training pairs")
    parser.add_argument("--judge", type=int, default=64, help="pairs that judge")
    parser.add_argument("--sites", help="one kind of sites, in place of all sites and the residual ones")
    parser.add_argument("--from-layer", type=int, help="keep all below this layer as it is")
    parser.add_argument("--model", help="folder of a model of your own")
    parser.add_argument("--saes", help="folder of its SAEs")
    parser.add_argument("--pairs", type=Path, help="JSON file of prompt pairs")
    options = parser.parse_args()
    if options.model is not None:
        model = load_model(options.model)
        pairs = prompt_pairs(options.pairs, model)
        train, judge = pairs.head(options.train), PromptPairs(pairs.pairs[-options.judge :])
        spliced = splice(model, load_saes(options.saes))
        if options.sites is options.from_layer is None:
            compare(spliced, train, judge, "none")
        compare(part_of(spliced, options), train, judge, "none")
        return
    model = load_model()
    spliced = splice(model, load_saes())
    train = prompt_pairs("agreement", model, examples=options.train)
    judge = prompt_pairs("agreement", model, split="held_out", examples=options.judge)
    if options.sites is options.from_layer is None:
        compare(spliced, train, judge, "role")
    compare(part_of(spliced, options), train, judge, "none")


if __name__ == "__main__":
    main()
