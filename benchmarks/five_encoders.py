"""ReLU, JumpReLU, Gated, TopK and ProLU side by side: quality, jumps, how far estimates are off, size of circuits.

    python -m benchmarks.five_encoders [--pairs N] [--train N] [--saes FOLDER] [--out FILE]

The five kinds read the same activations, those of the embedded model's residual stream after its first three layers,
at nearly the same L0, which the table states. Four kinds are as shipped; ProLU, which ships at a lower L0, is trained
anew with the recipe and kept in `--saes`, so that it is trained once. Measured for each kind: the quality of the three
sites on held-out documents; on pairs of the agreement task, in frozen mode, the share of the attribution that goes
through jumps, what plain IG misses of the total effect, and single nodes against exact patching; and the circuit that
the iterated mask path finds for F >= .8 on held-out pairs, with its F on others. Writes JSON and prints a table.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import torch

from attribution import PromptPairs, SplicedModel, sae_quality
from attribution.splice import references
from benchmarks.circuits_found import TARGET
from benchmarks.jumps import ENCODER_KINDS, measure_setting
from circuits import (
    attribution_patching,
    embedded_corpus,
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    rank_nodes,
    splice,
)
from circuits.embedded.recipe.train_saes import SaeRun, train_saes
from circuits.embedded.sets import MODEL_FOLDER
from circuits.selection.iterated import iterate
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions
from graphs import ErrorNode, FeatureNode
from graphs.figures.colours import SERIES_COLOURS

SITES: Final = tuple(f"blocks.{layer}.hook_resid_post" for layer in range(3))
"""Sites at which the shipped dictionaries have L0 17.3 to 18.0."""
PROLU_L0: Final = (30, 26, 26)
"""What the recipe is asked for at each site, so that ProLU has the L0 of the others on held-out documents."""
HELD_OUT: Final = 64


def dictionaries(kind: str, trained: Path) -> SplicedModel:
    """The model with the SAEs of one kind; ProLU is trained first where its folder does not hold it."""
    if kind == "prolu":
        runs = tuple(SaeRun("prolu", site, l0=l0, steps=1500) for site, l0 in zip(SITES, PROLU_L0, strict=True))
        train_saes(MODEL_FOLDER, trained, runs, count=6000)
    saes = load_saes(trained / "prolu" if kind == "prolu" else kind)
    return splice(load_model(), {site: saes[site] for site in SITES})


def quality(spliced: SplicedModel) -> dict[str, float]:
    """L0 and FVU, means over the sites, and what splicing all of them in costs, in nats a token."""
    texts = list(embedded_corpus(spliced.model, documents=200).pieces())
    found = sae_quality(spliced, texts, "200 documents")
    return {
        "L0": float(np.mean([site.l0 for site in found.sites])),
        "FVU": float(np.mean([site.fvu for site in found.sites])),
        "CE increase": found.ce_increase,
        "KL": found.kl,
    }


def circuit(spliced: SplicedModel, train: int) -> dict[str, Any]:
    """The set that the iterated mask path finds, without positions: its size, of how many, and its F."""
    own = prompt_pairs("agreement", spliced.model, examples=train)
    held_out = prompt_pairs("agreement", spliced.model, split="held_out", examples=2 * HELD_OUT)
    judge, validate = held_out.head(HELD_OUT), held_out.pairs[HELD_OUT:]
    estimate = attribution_patching(spliced, own, logit_difference)
    ranking = rank_nodes(estimate, own, spliced.model, scheme="none")
    nodes = [w.node for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]

    def sets(pairs: PromptPairs) -> NodeSets:
        return NodeSets(spliced, pairs, logit_difference, references.counterfactual, nodes, ranking.positions)

    both = Directions([sets(turned) for turned in both_directions(own)])
    found = iterate(sets(own), both, sets(PromptPairs(validate)), target=TARGET)
    return {
        "reached": found.reached,
        "F training": found.training,
        "F validation": found.validation,
        "nodes on its own pairs": min(seen.size for seen in found.rounds if seen.training >= TARGET),
        "nodes": int(found.chosen.sum()),
        "of": len(nodes),
        "F": sets(judge).faithfulness(found.chosen),
        "F of all nodes": sets(judge).faithfulness(np.ones(len(nodes), bool)),
    }


def row(kind: str, given: argparse.Namespace) -> dict[str, Any]:
    """All numbers of one kind."""
    spliced = dictionaries(kind, given.saes)
    pairs = prompt_pairs("agreement", spliced.model, examples=given.pairs)
    return {
        "encoder": kind,
        **quality(spliced),
        "estimates": measure_setting(spliced, pairs, "frozen"),
        "circuit": circuit(spliced, given.train),
    }


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table with a line for each kind."""
    methods = ("AtP", "IG", "chord IG")
    head = (
        "encoder",
        "L0",
        "FVU",
        "CE increase, nats",
        "through jumps",
        "IG misses, 50 points",
        *methods,
        "F ≥ .8 on own pairs",
        "on held-out pairs",
    )
    text = f"| {' | '.join(head)} |\n|{' --- |' * len(head)}\n"
    for found in rows:
        estimates, own = found["estimates"], found["circuit"]
        against = [estimates["agreement"][name] for name in methods]
        cells = (
            found["encoder"],
            f"{found['L0']:.1f}",
            f"{found['FVU']:.3f}",
            f"{found['CE increase']:.4f}",
            f"{estimates['jump_share']:.0%}",
            f"{np.median(estimates['completeness']['IG 50']):.1%}",
            *(f"{a['pearson']:.2f}, {a['wrong_signs']} of {a['large']}" for a in against),
            f"{own['nodes on its own pairs']:.0f}",
            f"{own['nodes']:.0f} of {own['of']:,.0f}, F {own['F']:.2f}{'' if own['reached'] else ' (missed)'}",
        )
        text += f"| {' | '.join(cells)} |\n"
    return text


def figure(rows: list[dict[str, Any]]) -> go.Figure:
    """Nodes that F >= .8 takes, for each kind: on the pairs that found them, and on held-out words."""
    shown = go.Figure()
    kinds = [f"{found['encoder']}<br>FVU {found['FVU']:.3f}" for found in rows]
    for number, (name, key) in enumerate((("own pairs", "nodes on its own pairs"), ("held-out words", "nodes"))):
        nodes = [found["circuit"][key] for found in rows]
        colour = SERIES_COLOURS[number]
        shown.add_trace(go.Bar(x=kinds, y=nodes, name=name, text=nodes, textposition="outside", marker_color=colour))
    shown.update_yaxes(title=f"nodes with F ≥ {TARGET}", type="log", range=[0.8, 3.3])
    shown.update_layout(width=700, height=420, plot_bgcolor="white", barmode="group", margin={"t": 30})
    return shown


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6, help="pairs on which estimates are compared with patching")
    parser.add_argument("--train", type=int, default=32, help="pairs that find the circuit")
    parser.add_argument(
        "--saes", type=Path, default=Path("out/five_encoders"), help="where the trained ProLU SAEs are kept"
    )
    parser.add_argument("--out", type=Path, default=Path("out/five_encoders.json"))
    parser.add_argument("--figure", type=Path, help="an HTML file for the figure")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for kind in ENCODER_KINDS:
        start = time.perf_counter()
        rows.append(row(kind, given))
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        print(f"{kind}: {time.perf_counter() - start:.0f} s", flush=True)
    print(markdown_table(rows))
    if given.figure is not None:
        figure(rows).write_html(given.figure, include_plotlyjs=True)


if __name__ == "__main__":
    main()
