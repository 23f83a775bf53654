"""When does an SAE learn "a and b" instead of a and b, and would anything notice? Dictionaries trained on known atoms.

    python -m benchmarks.trained_composites [--seeds N] [--steps N] [--out FILE] [--figure FILE]

Worlds of couples of atoms that occur together (`benchmarks/composites/atom_worlds.py`), ReLU SAEs with an L1 penalty
and TopK SAEs with k = 2, as wide as there are atoms and twice as wide. For every share of joint occurrence: which of
the atoms and composites some feature stands for (cosine above .95), what the splitting test finds of the composites,
and how well ITO reconstructs without the features that split, with one more feature than the encoder uses. Means over
seeds, as a table and as JSON; `--figure` writes heat maps of cosines between features and known directions as HTML.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from benchmarks.composites.atom_worlds import AtomWorld, Kind
from benchmarks.composites.learned import Learned, cosines, learned
from benchmarks.composites.training import Encoder, train

TOGETHER: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Share of joint occurrence: p of `AtomWorld`."""
WIDTHS: Final = (12, 24)
SHOWN: Final = (0.0, 0.5, 0.9)
"""Shares whose heat maps are drawn."""


def measure(encoder: Encoder, width: int, seeds: int, steps: int) -> list[dict[str, Any]]:
    """A row for every kind of world and share of joint occurrence: means over the seeds."""
    cases = [(kind, together) for kind in get_args(Kind) for together in TOGETHER]
    worlds = [AtomWorld(kind, together, seed=seed) for kind, together in cases for seed in range(seeds)]
    found = [learned(world, sae) for world, sae in zip(worlds, train(worlds, encoder, width, steps=steps), strict=True)]
    return [
        {
            "encoder": encoder,
            "features": width,
            "world": kind,
            "together": together,
            **means(found[n * seeds : (n + 1) * seeds]),
        }
        for n, (kind, together) in enumerate(cases)
    ]


def means(of_seeds: Sequence[Learned]) -> dict[str, float | None]:
    """The mean of each number over the seeds that have it."""
    numbers = [asdict(one) for one in of_seeds]
    by_name = {f.name: [one[f.name] for one in numbers if one[f.name] is not None] for f in fields(Learned)}
    return {name: float(np.mean(values)) if values else None for name, values in by_name.items()}


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table with a line for each row."""
    head = ("encoder, features", "world", "together", "a / b / both learned", "FVU, L0", "split: found, right", "ITO")
    text = f"| {' | '.join(head)} |\n|{' --- |' * len(head)}\n"
    for row in rows:
        split = " / ".join("–" if row[name] is None else f"{row[name]:.0%}" for name in ("found", "right"))
        cells = (
            f"{row['encoder']}, {row['features']}",
            row["world"],
            f"{row['together']:.0%}",
            f"{row['first']:.0%} / {row['second']:.0%} / {row['composites']:.0%}",
            f"{row['fvu']:.3f}, {row['l0']:.1f}",
            split,
            f"{row['fvu_without']:.3f}, {row['l0_without']:.1f}",
        )
        text += f"| {' | '.join(cells)} |\n"
    return text


def heat_maps(steps: int) -> go.Figure:
    """Cosines of the features of ReLU SAEs, twice as wide as there are atoms, with atoms and composites."""
    worlds = [AtomWorld(kind, together) for kind in get_args(Kind) for together in SHOWN]
    figure = make_subplots(
        len(get_args(Kind)),
        len(SHOWN),
        subplot_titles=[f"{world.kind}, {world.together:.0%} together" for world in worlds],
        vertical_spacing=0.2,
    )
    couples = range(worlds[0].couples)
    names = [name for n in couples for name in (f"a{n}", f"b{n}")] + [f"a{n} and b{n}" for n in couples]
    for number, (world, sae) in enumerate(zip(worlds, train(worlds, "relu", WIDTHS[-1], steps=steps), strict=True)):
        cosine = cosines(world, sae)
        order = torch.argsort(cosine.argmax(1), stable=True)
        drawn = go.Heatmap(
            z=cosine[order].numpy(), x=names, zmin=-1, zmax=1, colorscale="RdBu", colorbar={"title": "cosine"}
        )
        figure.add_trace(drawn, number // len(SHOWN) + 1, number % len(SHOWN) + 1)
    figure.update_yaxes(title="feature", col=1)
    figure.update_layout(width=1200, height=800)
    return figure


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000, help="steps of each training")
    parser.add_argument("--out", type=Path, default=Path("out/trained_composites.json"))
    parser.add_argument("--figure", type=Path, help="an HTML file for the heat maps")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for encoder in get_args(Encoder):
        for width in WIDTHS:
            rows += measure(encoder, width, given.seeds, given.steps)
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            print(f"{encoder}, {width} features: done", flush=True)
    print(markdown_table(rows))
    if given.figure is not None:
        heat_maps(given.steps).write_html(given.figure, include_plotlyjs=True)


if __name__ == "__main__":
    main()
