"""When gradients are blind: IG, AtP and chord IG against the truth, on encoders with and without jumps.

    python -m benchmarks.jumps [--pairs N] [--out FILE]

Every encoder kind is measured with SAEs at resid_post of every layer, and JumpReLU also at all 12 sites, in every error
mode and on every task of the embedded model. Two things are measured: the completeness error
|total − Σ sources| / |total| of input-path IG and chord IG by number of points, and every method's agreement with exact
patching of single nodes. Writes the numbers as JSON and prints tables as Markdown.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from attribution import (
    SAE,
    BatchTopK,
    Effects,
    ErrorMode,
    JumpReLU,
    LanguageModel,
    PromptPairs,
    SplicedModel,
    activation_difference,
    agreement,
    chord_attribution,
    gauss_legendre,
    midpoint,
    path_mode,
)
from benchmarks.smoothed_gate import SmoothedJumpReLU
from circuits import (
    TASKS,
    attribution_patching,
    attribution_patching_star,
    chord_integrated_gradients,
    exact_patching,
    input_path_integrated_gradients,
    integrated_gradients,
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    splice,
)

ENCODER_KINDS = ("relu", "jumprelu", "gated", "topk", "prolu")
ERROR_MODES: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
IG_POINTS, CHORD_POINTS, RIVAL_WIDTHS = (5, 10, 50, 200), (3, 5, 10), (0.1, 0.5, 1.0)
LARGE_SHARE = 0.01
"""A node is large if its |effect| is at least this share of the median |total effect|."""


def residual_shares(effects: Effects) -> list[float]:
    """|residual| / |total effect| of each example."""
    assert effects.residual is not None
    return (np.abs(effects.residual) / np.abs(effects.total_effect)).tolist()


def against_exact(estimate: Effects, exact: Effects, *, signed: bool = True) -> dict[str, Any]:
    """The agreement over all nodes. An unsigned estimate is compared with |exact|."""
    place = {key: n for n, key in enumerate(estimate.keys().tolist())}
    values = np.array([estimate.effect[place[key]] for key in exact.keys().tolist()])
    truth = exact.effect if signed else np.abs(exact.effect)
    large = LARGE_SHARE * float(np.median(np.abs(exact.total_effect)))
    found = agreement("", values, truth, 0, threshold=large, top=20, jump_share=None)
    return {
        "pearson": found.pearson,
        "spearman": found.spearman,
        "top_20_overlap": found.top_overlap,
        "large": found.large,
        "wrong_signs": found.sign_flips if signed else None,
    }


def measure_setting(spliced: SplicedModel, pairs: PromptPairs, mode: ErrorMode) -> dict[str, Any]:
    """The numbers of all methods on one task, encoder kind and error mode."""
    arguments, walked = (spliced, pairs, logit_difference), path_mode(mode)
    exact = exact_patching(*arguments, error_mode=mode)
    chords = chord_attribution(*arguments, error_mode=walked, split=True)
    assert chords.jump is not None
    assert chords.smooth is not None
    jump, smooth = np.abs(chords.jump).sum(), np.abs(chords.smooth).sum()
    ig = {q: input_path_integrated_gradients(*arguments, error_mode=walked, points=midpoint(q)) for q in IG_POINTS}
    chord = {
        q: chord_integrated_gradients(*arguments, error_mode=walked, points=gauss_legendre(q)) for q in CHORD_POINTS
    }
    difference = activation_difference(*arguments, error_mode=mode)
    return {
        "nodes": len(exact),
        "flips": len(chords.ledger),
        "jump_share": float(jump / (jump + smooth)),
        "completeness": {
            **{f"IG {q}": residual_shares(effects) for q, effects in ig.items()},
            **{f"chord IG {q}": residual_shares(effects) for q, effects in chord.items()},
        },
        "agreement": {
            "activation difference": against_exact(difference, exact, signed=False),
            "AtP": against_exact(attribution_patching(*arguments, error_mode=mode), exact),
            "AtP*": against_exact(attribution_patching_star(*arguments, error_mode=mode), exact),
            "IG": against_exact(integrated_gradients(*arguments, error_mode=mode, points=midpoint(10)), exact),
            "input-path IG": against_exact(ig[10], exact),
            "chord IG": against_exact(chord[10], exact),
        },
        "rival": _rival(spliced, pairs, mode, exact) if mode != "live" else {},
    }


def _rival(spliced: SplicedModel, pairs: PromptPairs, mode: ErrorMode, exact: Effects) -> dict[str, Any]:
    """The numbers of AtP and input-path IG with kernel-smoothed gates, by kernel width. JumpReLU only."""
    found: dict[str, Any] = {}
    if not all(isinstance(sae, JumpReLU | BatchTopK) for sae in spliced.saes.values()):
        return found
    for width in RIVAL_WIDTHS:
        saes: dict[str, SAE] = {s: SmoothedJumpReLU.of(cast(JumpReLU, sae), width) for s, sae in spliced.saes.items()}
        smoothed = splice(spliced.model, saes)
        arguments, walked = (smoothed, pairs, logit_difference), path_mode(mode)
        paths = {
            q: input_path_integrated_gradients(*arguments, error_mode=walked, points=midpoint(q)) for q in (10, 50)
        }
        found[f"width {width}"] = {
            "completeness": {f"IG {q}": residual_shares(effects) for q, effects in paths.items()},
            "AtP": against_exact(attribution_patching(*arguments, error_mode=mode), exact),
        }
    return found


def measure_all_settings(model: LanguageModel, count: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The numbers of every encoder kind, error mode and task. `say` is called with a line about each."""
    rows: list[dict[str, Any]] = []
    for kind in (*ENCODER_KINDS, "jumprelu, 12 sites"):
        saes = load_saes(kind.split(",")[0])
        if "," not in kind:
            saes = {site: sae for site, sae in saes.items() if site.endswith("hook_resid_post")}
        spliced = splice(model, saes)
        for mode in ERROR_MODES:
            for task in TASKS:
                start = time.perf_counter()
                pairs = prompt_pairs(task, model, examples=count)
                rows.append({"encoder": kind, "mode": mode, "task": task, **measure_setting(spliced, pairs, mode)})
                say(f"{kind}, {mode}, {task}: {time.perf_counter() - start:.0f} s")
    return rows


def markdown_tables(rows: list[dict[str, Any]]) -> str:
    """Two Markdown tables: completeness, and agreement with exact patching. Numbers are medians over the tasks."""
    methods = ("activation difference", "AtP", "AtP*", "IG", "input-path IG", "chord IG")
    points = [*(f"IG {q}" for q in IG_POINTS), *(f"chord IG {q}" for q in CHORD_POINTS)]
    text = f"| encoder | mode | jump share | {' | '.join(points)} |\n|{' --- |' * (3 + len(points))}\n"
    second = f"| encoder | mode | {' | '.join(methods)} |\n|{' --- |' * (2 + len(methods))}\n"
    for kind, mode in dict.fromkeys((row["encoder"], row["mode"]) for row in rows):
        cells = [row for row in rows if (row["encoder"], row["mode"]) == (kind, mode)]
        errors = [np.median([share for c in cells for share in c["completeness"][p]]) for p in points]
        share = np.median([c["jump_share"] for c in cells])
        text += f"| {kind} | {mode} | {share:.0%} | {' | '.join(_percent(e) for e in errors)} |\n"
        second += f"| {kind} | {mode} | {' | '.join(_agreement(cells, m) for m in methods)} |\n"
    return f"{text}\n{second}"


def _agreement(cells: list[dict[str, Any]], method: str) -> str:
    """Median Pearson / Spearman over tasks, and how many large nodes have the wrong sign, over all tasks."""
    found = [c["agreement"][method] for c in cells]
    pearson, spearman = (np.median([f[name] for f in found]) for name in ("pearson", "spearman"))
    if found[0]["wrong_signs"] is None:
        return f"{pearson:.2f} / {spearman:.2f}"
    wrong, large = (sum(f[name] for f in found) for name in ("wrong_signs", "large"))
    return f"{pearson:.2f} / {spearman:.2f}, {wrong} of {large}"


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.1f}%" if percent >= 1 else f"{percent:.2g}%"


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6, help="pairs of each task")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/jumps.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure_all_settings(load_model(), arguments.pairs, lambda line: print(line, flush=True))
    content = {"pairs": arguments.pairs, "large": LARGE_SHARE, "rows": rows}
    arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(markdown_tables(rows))


if __name__ == "__main__":
    main()
