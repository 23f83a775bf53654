"""Are the searches on resampled pairs that run beside a search the sets that whole searches would find?

    python -m benchmarks.stability [--pairs-used N] [--whole N] [--model FOLDER --saes FOLDER --pairs FILE]

For each case: a search with resamples beside it, then whole searches, one by one, on the same resampled pairs. The
table has the mean Jaccard index of the two sets of a resample and that of each with the search's own set, the
correlation of the nodes' inclusion rates (over nodes that any set has), and the CPU seconds of all.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from attribution import METHODS, PromptPairs, SplicedModel
from attribution.splice import references
from circuits import load_model, load_saes, logit_difference, prompt_pairs, rank_nodes, splice
from circuits.faithfulness.bootstrap import Bootstrap
from circuits.selection.iterated import Search, iterate
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions, rows_of_directions
from graphs import ErrorNode, FeatureNode

RESAMPLES = 100


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Nodes that both sets have, as a share of those that either has; the mean over resamples."""
    return float(((first & second).sum(-1) / (first | second).sum(-1)).mean())


def compare(spliced: SplicedModel, pairs: PromptPairs, scheme: str, whole: int, name: str) -> None:
    """Print the row of one case."""
    effects = METHODS["mask-path"](spliced, pairs, logit_difference)
    ranking = rank_nodes(effects, pairs, spliced.model, scheme=scheme)  # pyright: ignore[reportArgumentType]
    nodes = [w.node for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]

    def sets(own: PromptPairs) -> NodeSets:
        return NodeSets(spliced, own, logit_difference, references.counterfactual, nodes, ranking.positions)

    def search(own: PromptPairs, **options: object) -> Search:
        both = Directions([sets(turned) for turned in both_directions(own)], rows_of_directions(len(own)))
        return iterate(sets(own), both, None, refine=False, **options)  # pyright: ignore[reportArgumentType]

    plain, seconds_plain = _timed(lambda: search(pairs))
    size = int(plain.chosen.sum())
    weights = Bootstrap(RESAMPLES).weights(len(pairs))
    beside, seconds = _timed(lambda: search(pairs, target=None, nodes=size, weights=weights))
    assert beside.resampled is not None
    found = beside.resampled.sets(size)
    again = np.zeros((whole, len(nodes)), bool)
    start = time.process_time()
    for n in range(whole):
        times = (weights[n] * len(pairs)).round().astype(int)
        drawn = PromptPairs(tuple(pairs[i] for i in range(len(pairs)) for _ in range(times[i])))
        again[n] = search(drawn, target=None, nodes=size).chosen
    each = (time.process_time() - start) / whole
    rates = found[:whole].mean(0), again.mean(0)
    either = (rates[0] > 0) | (rates[1] > 0)
    numbers = (
        jaccard(found[:whole], again),
        jaccard(found[:whole], plain.chosen),
        jaccard(again, plain.chosen),
        np.corrcoef(*(r[either] for r in rates))[0, 1],
    )
    shown = " | ".join(f"{number:.2f}" for number in numbers)
    cost = f"{seconds_plain:.0f} | {seconds:.0f} | {RESAMPLES * each:.0f}"
    print(f"| {name} | {size} of {len(nodes):,} | {shown} | {cost} |", flush=True)


def _timed(run: Callable[[], Search]) -> tuple[Search, float]:
    start = time.process_time()
    return run(), time.process_time() - start


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs-used", type=int, default=32, help="training pairs")
    parser.add_argument("--whole", type=int, default=10, help="whole searches on resampled pairs")
    parser.add_argument("--model", help="folder of a model of your own")
    parser.add_argument("--saes", help="folder of its SAEs")
    parser.add_argument("--pairs", type=Path, help="JSON file of prompt pairs")
    options = parser.parse_args()
    print(
        "| case | nodes | Jaccard: beside and whole | beside and the search | whole and the search "
        f"| correlation of rates | search, CPU s | with {RESAMPLES} resamples | {RESAMPLES} whole searches |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    if options.model is not None:
        model, saes = load_model(options.model), load_saes(options.saes)
        cases = [(prompt_pairs(options.pairs, model, examples=options.pairs_used), "none", saes)]
    else:
        model, saes = load_model(), load_saes()
        pairs = prompt_pairs("agreement", model, examples=options.pairs_used)
        cases = [(pairs, "none", saes), (pairs, "role", saes)]
    for pairs, scheme, saes in cases:
        residual = {site: sae for site, sae in saes.items() if site.endswith("resid_post")}
        chosen = residual if scheme == "none" else saes
        name = f"{options.pairs.stem if options.pairs else 'agreement'}, {len(chosen)} sites, positions: {scheme}"
        compare(splice(model, chosen), pairs, scheme, options.whole, name)


if __name__ == "__main__":
    main()
