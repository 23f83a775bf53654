"""Which ranking needs the fewest nodes? The faithfulness of circuits taken from every method's ranking.

    python -m benchmarks.faithfulness [--tasks T ...] [--train N] [--pairs N] [--out FILE]

Rankings are made on training pairs of the embedded model (JumpReLU SAEs at all 12 sites). They are judged on training,
held-out and out-of-distribution pairs, with everything outside a circuit at its counterfactual value. Prints the
smallest circuits, the areas and the faithfulness F at some sizes as Markdown, for each task, and writes every curve as
JSON.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attribution import PromptPairs, SplicedModel, activation_difference
from attribution.effects.metric_keeping import ErrorChoice
from circuits import (
    SPLITS,
    attribution_patching,
    chord_integrated_gradients,
    exact_patching,
    integrated_gradients,
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    rank_nodes,
    splice,
)
from circuits.faithfulness.faithfulness_curves import faithfulness_curves
from circuits.faithfulness.ranked_circuits import RankingOrder, random_rankings
from circuits.faithfulness.smallest_faithful import smallest_faithful
from circuits.ranking.aggregate import Ranking
from graphs import Faithfulness, FaithfulnessCurve

TARGETS = (0.5, 0.8)
"""The smallest circuits are those with at least this faithfulness."""
SHARES_SHOWN = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Sizes of the circuits in the tables, as shares of all nodes."""
CURVES: tuple[tuple[str, RankingOrder, ErrorChoice], ...] = (
    ("train", "absolute", "nodes"),
    ("held_out", "absolute", "nodes"),
    ("out_of_distribution", "absolute", "nodes"),
    ("held_out", "signed", "nodes"),
    ("held_out", "absolute", "kept"),
    ("held_out", "absolute", "removed"),
)
"""Split, order of the ranking, and choice of errors of every curve."""


def method_rankings(spliced: SplicedModel, train: PromptPairs) -> dict[str, Ranking]:
    """Every method's ranking of all nodes, by the method's name."""
    arguments = (spliced, train, logit_difference)
    effects = {
        "exact, live": exact_patching(*arguments),
        "exact, frozen": exact_patching(*arguments, error_mode="frozen"),
        "AtP, live": attribution_patching(*arguments),
        "IG, live": integrated_gradients(*arguments),
        "chord IG, path": chord_integrated_gradients(*arguments),
        "activation difference": activation_difference(*arguments),
    }
    return {name: rank_nodes(found, train, spliced.model) for name, found in effects.items()}


def curves_of_runs(
    spliced: SplicedModel, pairs: Mapping[str, PromptPairs], found: Mapping[str, Ranking]
) -> list[FaithfulnessCurve]:
    """The curves of `CURVES` for every ranking, and for random ones."""
    families: dict[str, Ranking | Sequence[Ranking]] = {**found}
    families["random"] = random_rankings(next(iter(found.values())), draws=2)
    made: list[FaithfulnessCurve] = []
    for split, order, errors in CURVES:
        own = {split: pairs[split]}
        made += faithfulness_curves(spliced, own, logit_difference, families, order=order, errors=errors)
    return made


def smallest_circuits(
    spliced: SplicedModel, pairs: Mapping[str, PromptPairs], found: Mapping[str, Ranking]
) -> dict[str, dict[str, Faithfulness | None]]:
    """The smallest circuit of each ranking, by ranking, target and split."""
    return {
        name: {
            f"{target} {split}": smallest_faithful(
                spliced, pairs[split], logit_difference, ranking, target=target, split=split
            )
            for split in ("train", "held_out")
            for target in TARGETS
        }
        for name, ranking in found.items()
    }


def task_result(spliced: SplicedModel, task: str, train: int, count: int) -> dict[str, Any]:
    """Everything that is measured on one task, as plain data. Tables are printed on the way."""
    pairs = {split: prompt_pairs(task, spliced.model, split=split, examples=count, seed=1) for split in SPLITS}
    start = time.perf_counter()
    found = method_rankings(spliced, prompt_pairs(task, spliced.model, examples=train))
    ranked = time.perf_counter()
    made, least = curves_of_runs(spliced, pairs, found), smallest_circuits(spliced, pairs, found)
    print_tables(task, made, least)
    seconds = {"rankings": ranked - start, "faithfulness": time.perf_counter() - ranked}
    print(f"\n{task}: {seconds['rankings']:.0f} s for the rankings, {seconds['faithfulness']:.0f} s for the rest")
    return {
        "nodes": {name: len(ranking.nodes) for name, ranking in found.items()},
        "curves": [curve.as_dict() for curve in made],
        "smallest": {name: {k: f and f.as_dict() for k, f in of.items()} for name, of in least.items()},
        "seconds": {stage: round(s) for stage, s in seconds.items()},
    }


def print_tables(
    task: str, made: Sequence[FaithfulnessCurve], least: Mapping[str, Mapping[str, Faithfulness | None]]
) -> None:
    """Print the smallest circuits and the areas; then F by size for each of `CURVES`."""
    keys = list(next(iter(least.values())))
    areas = {(c.ranking, c.split, c.order, c.errors): c for c in made}
    print(f"\n### {task}\n\nFewest nodes for F of at least a target; areas on held-out pairs\n")
    columns = [f"F >= {key.replace('_', '-')}" for key in keys]
    print_row(["ranking", *columns, "CPR (signed)", "CMD (absolute)", "CMD, errors kept", "CMD, errors removed"])
    print_row(["---"] * (len(columns) + 5))
    for name in dict.fromkeys(c.ranking for c in made):
        sizes = [str(f.nodes) if (f := least.get(name, {}).get(key)) else "–" for key in keys]
        chosen = [("signed", "nodes"), ("absolute", "nodes"), ("absolute", "kept"), ("absolute", "removed")]
        own = [areas[name, "held_out", *choice] for choice in chosen]
        print_row([name, *sizes, f"{own[0].cpr:.3f}", *(f"{curve.cmd:.3f}" for curve in own[1:])])
    for split, order, errors in CURVES:
        print(f"\nF by share: {split}, {order} order, errors {errors}\n")
        print_row(["ranking", *(f"{share:.1%}" for share in SHARES_SHOWN)])
        print_row(["---"] * (len(SHARES_SHOWN) + 1))
        for curve in (c for c in made if (c.split, c.order, c.errors) == (split, order, errors)):
            place = [curve.shares.index(share) for share in SHARES_SHOWN]
            print_row([curve.ranking, *(f"{curve.faithfulness[n]:.2f}" for n in place)])


def print_row(cells: Sequence[str]) -> None:
    """Print one line of a Markdown table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure every task and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["agreement", "pronoun"])
    parser.add_argument("--train", type=int, default=40, help="pairs that rankings are made from")
    parser.add_argument("--pairs", type=int, default=60, help="pairs of each split that circuits are judged on")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    chosen = parser.parse_args()
    spliced = splice(load_model(), load_saes())
    results = {task: task_result(spliced, task, chosen.train, chosen.pairs) for task in chosen.tasks}
    chosen.out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
