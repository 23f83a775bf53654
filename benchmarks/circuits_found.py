"""How many nodes does a circuit need? The searches beside the rankings of every method.

    python -m benchmarks.circuits_found [--train N] [--validate N] [--judge N] [--sites KIND] [--from-layer L]
                                        [--task NAME | --model FOLDER --saes FOLDER --pairs FILE] [--curves FILE]

Nodes are ordered on training pairs. The first table gives the fewest first nodes of each order with F >= .5, .8 and .9,
on the training pairs, on validation pairs and on pairs that judge; sizes are scanned, eight for each doubling. The
second gives the sets that the searches choose for F >= .8 on the validation pairs. Everything outside takes its
counterfactual value, errors are nodes. By default: agreement in the embedded model, at all 12 sites with roles and
at 4 residual sites without positions; held-out words validate and judge. With a model of your own: nodes without
positions, the last pairs of the file judge and those before them validate. `--sites` and `--from-layer` take one kind
of sites (residual ones by default), and those of some layers, without positions, in place of both cases. `--curves`
adds F on the judging pairs over the number of nodes to a file, one line a case (`circuits_found_figure.py`).
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
from circuits.selection.iterated import Search, iterate
from circuits.selection.learned import learn
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
SEARCHES = {"iterated mask path": iterate, "learned masks": learn}
TARGET = 0.8
"""F that the searches aim at."""


def scanned_sizes(most: int, of_a_doubling: int) -> list[int]:
    """Sizes from 1 to the largest, so many for each doubling."""
    steps = of_a_doubling * int(np.ceil(np.log2(most))) + 1
    return np.unique(np.geomspace(1, most, steps).round().astype(int)).tolist()


def first_nodes(order: np.ndarray, size: int) -> np.ndarray:
    """The set of the first nodes of an order."""
    chosen = np.zeros(len(order), bool)
    chosen[order[:size]] = True
    return chosen


def sizes_needed(order: np.ndarray, sets: NodeSets) -> list[str]:
    """The fewest first nodes of an order with each target's F; a dash where no scanned size has it."""
    left, found = list(TARGETS), list[str]()
    for size in scanned_sizes(len(order), 8):
        chosen = first_nodes(order, size)
        while left and sets.faithfulness(chosen) >= left[0]:
            found.append(f"{size:,}")
            left.pop(0)
        if not left:
            break
    return found + ["–"] * len(left)


def curve(order: np.ndarray, sets: NodeSets) -> dict[str, Sequence[float]]:
    """F of the first nodes of an order, four sizes for each doubling."""
    sizes = scanned_sizes(len(order), 4)
    return {"nodes": sizes, "F": [round(sets.faithfulness(first_nodes(order, size)), 4) for size in sizes]}


@dataclass(frozen=True)
class Parts:
    """Pairs that find, pairs that choose the size, and pairs that judge."""

    train: PromptPairs
    validate: PromptPairs
    judge: PromptPairs

    @property
    def all(self) -> tuple[PromptPairs, ...]:
        return self.train, self.validate, self.judge


def compare(
    spliced: SplicedModel, parts: Parts, scheme: PositionScheme, name_of_case: str = "", curves: Path | None = None
) -> None:
    """Print the tables of one case; add its curves to a file if one is given."""
    train = parts.train
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

    searches: dict[str, Search] = {}
    for name, search in SEARCHES.items():
        start = time.process_time()
        both = Directions([sets(own) for own in both_directions(train)])
        searches[name] = search(sets(train), both, sets(parts.validate), target=TARGET)
        order = np.argsort(-searches[name].order, kind="stable")
        orders[f"**{name}**"] = order, time.process_time() - start
    orders["random"] = np.random.default_rng(0).permutation(len(nodes)), 0.0
    on = [sets(pairs) for pairs in parts.all]
    everything = np.ones(len(nodes), bool)
    print(
        f"\n{len(nodes):,} nodes at {len(spliced.sites)} sites, positions: {scheme}; {len(train)} training pairs, "
        f"{len(parts.validate)} that validate, {len(parts.judge)} that judge; F of all nodes on these "
        f"{on[-1].faithfulness(everything):.2f}\n"
    )
    print("| order: nodes for F ≥ .5 / .8 / .9 | training pairs | validation pairs | judging pairs | CPU s |")
    print("| --- | --- | --- | --- | --- |")
    for name, (order, seconds) in orders.items():
        cells = " | ".join(" / ".join(sizes_needed(order, own)) for own in on)
        print(f"| {name} | {cells} | {seconds:.0f} |", flush=True)
    if curves is not None:
        drawn = {name.strip("*"): curve(order, on[-1]) for name, (order, _) in orders.items()}
        chosen = {name: int(search.chosen.sum()) for name, search in searches.items()}
        with curves.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"case": name_of_case, "curves": drawn, "chosen": chosen}) + "\n")
    print("\n| chosen | nodes | F: training pairs | validation pairs | judging pairs |")
    print("| --- | --- | --- | --- | --- |")
    for name, search in searches.items():
        cells = " | ".join(f"{own.faithfulness(search.chosen):.2f}" for own in on)
        print(f"| {name} | {int(search.chosen.sum()):,} | {cells} |", flush=True)


def part_of(spliced: SplicedModel, options: argparse.Namespace) -> SplicedModel:
    """The splice at the sites and layers asked for."""
    part = spliced.at_sites(options.sites or "resid_post")
    return part if options.from_layer is None else part.from_layer(options.from_layer)


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=32, help="training pairs")
    parser.add_argument("--validate", type=int, default=32, help="pairs that choose the size")
    parser.add_argument("--judge", type=int, default=64, help="pairs that judge")
    parser.add_argument("--sites", help="one kind of sites, in place of all sites and the residual ones")
    parser.add_argument("--from-layer", type=int, help="keep all below this layer as it is")
    parser.add_argument("--task", default="agreement", help="a task of the embedded model")
    parser.add_argument("--curves", type=Path, help="file that gets the curves")
    parser.add_argument("--model", help="folder of a model of your own")
    parser.add_argument("--saes", help="folder of its SAEs")
    parser.add_argument("--pairs", type=Path, help="JSON file of prompt pairs")
    options = parser.parse_args()
    own = options.model is not None
    model = load_model(options.model) if own else load_model()
    spliced = splice(model, load_saes(options.saes) if own else load_saes())
    if own:
        pairs = prompt_pairs(options.pairs, model)
        judge, others = PromptPairs(pairs.pairs[-options.judge :]), PromptPairs(pairs.pairs[: -options.judge])
        parts = Parts(pairs.head(options.train), PromptPairs(others.pairs[-options.validate :]), judge)
    else:
        train = prompt_pairs(options.task, model, examples=options.train)
        held_out = prompt_pairs(options.task, model, split="held_out", examples=options.judge + options.validate)
        parts = Parts(train, PromptPairs(held_out.pairs[options.judge :]), held_out.head(options.judge))
    name = f"{options.pairs.stem}, {Path(options.model).name}" if own else f"{options.task}, embedded"
    if options.sites is options.from_layer is None and (own or options.task == "agreement"):
        compare(spliced, parts, "none" if own else "role")
    compare(part_of(spliced, options), parts, "none", name, options.curves)


if __name__ == "__main__":
    main()
