"""Ground truth: do the methods find the nodes and edges of programs that are known?

    python -m benchmarks.ground_truth [--pairs N] [--programs NAME ...] [--out FILE]

The models are RASP programs, compiled to transformers by tracr. Their residual basis serves as an exact SAE whose
features have names, once as a ReLU and once as a JumpReLU. The true nodes and edges of each contrast pair follow from
the program alone (`benchmarks/programs/truth.py`). Prints every method's AUROC as Markdown tables and writes all
numbers as JSON, with those of `benchmarks/composite_features.py`.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from attribution import ErrorMode, JumpReLU, ReLU
from benchmarks.composite_features import composite_report
from benchmarks.programs.compiled_model import load_compiled
from benchmarks.programs.library import PROGRAMS
from benchmarks.programs.scores import Kind, Measured, Question, auroc
from benchmarks.programs.truth import contrasts

SETTINGS: Final[tuple[tuple[Kind, ErrorMode], ...]] = ((ReLU, "live"), (ReLU, "frozen"), (JumpReLU, "frozen"))
LARGE_SCORE: Final = 0.01
"""Where misses are listed, a score of at least this size counts as an effect. Answers differ by 1 or 2."""


def question_about(name: str, count: int) -> Question:
    """A program with `count` random contrast pairs."""
    compiled = load_compiled(name)
    return Question(compiled, contrasts(compiled, count))


def measure_setting(question: Question, kind: Kind, mode: ErrorMode) -> dict[str, Any]:
    """All methods on one program, encoder kind and error mode.

    Edges are left out in `live` mode, in which no edge ends in a feature.
    """
    measured = Measured(question, kind, mode)
    scores: dict[str, tuple[Callable[[str], Mapping[Any, bool]], Mapping[str, Mapping[Any, float]]]] = {
        "node": (question.nodes, measured.nodes())
    }
    if mode != "live":
        scores["edge"] = (question.edges, measured.edges())
    found: dict[str, Any] = {}
    for what, (truth, by_method) in scores.items():
        found[what] = {
            "candidates": len(truth("clean end")),
            **{f"true at {end}": sum(truth(end).values()) for end in question.truths},
            "auroc": {
                end: {method: auroc(truth(end), values) for method, values in by_method.items()}
                for end in question.truths
            },
            "chord against either end": first_misses(question, truth("either end"), by_method),
        }
    return found


def first_misses(
    question: Question, truth: Mapping[Any, bool], by_method: Mapping[str, Mapping[Any, float]]
) -> list[str]:
    """How many candidates chord IG and the program disagree on, and the first five of them in words.

    Of the runs of chord IG, the one with the most points is taken.
    """
    name = next(method for method in reversed(list(by_method)) if method.startswith("chord"))
    found: list[str] = []
    for candidate, true in truth.items():
        value = by_method[name].get(candidate, 0.0)
        if (abs(value) >= LARGE_SCORE) != true:
            pair = question.contrasts[candidate[0]]
            ends = " → ".join(f"{place.variable}@{place.position}" for place in candidate[1:])
            prompts = " / ".join(" ".join(map(str, tokens)) for tokens in (pair.clean, pair.patch))
            found.append(f"{prompts}: {ends} is {'true' if true else 'false'}, {name} {value:+.2g}")
    return [f"{len(found)} of {len(truth)}", *found[:5]]


def markdown_table(rows: list[dict[str, Any]], what: str, end: str) -> str:
    """A Markdown table of AUROC by program and setting."""
    rows = [row for row in rows if what in row]
    methods = list(rows[0][what]["auroc"][end]) if rows else []
    text = (
        f"| {what}s, {end} | encoder, mode | true / all | {' | '.join(methods)} |\n|{' --- |' * (3 + len(methods))}\n"
    )
    for row in rows:
        values = [row[what]["auroc"][end][method] for method in methods]
        shares = f"{row[what][f'true at {end}']} / {row[what]['candidates']}"
        cells = " | ".join("–" if value is None else f"{value:.3f}" for value in values)
        text += f"| {row['program']} | {row['encoder']}, {row['mode']} | {shares} | {cells} |\n"
    return text


def composite_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of the effects of composite and atomic features."""
    methods = ("exact", "AtP", "chord IG")
    text = f"| basis | question | total effect | {' | '.join(methods)} | flags on AtP |\n|{' --- |' * 7}\n"
    for row in rows:
        effects = [", ".join(f"{name} {value:+.0f}" for name, value in row.get(m, {}).items()) or "–" for m in methods]
        flags = ", ".join(row.get("flags on AtP", ())) or "–"
        total = f"{row['total effect']:+.0f}"
        text += f"| {row['basis']} | {row['question']} | {total} | {' | '.join(effects)} | {flags} |\n"
    return text


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4, help="contrast pairs of each program")
    parser.add_argument("--programs", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/ground_truth.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    content = {"pairs": arguments.pairs, "programs": rows, "composite": composite_report()}
    for name in arguments.programs:
        question = question_about(name, arguments.pairs)
        for kind, mode in SETTINGS:
            start = time.perf_counter()
            rows.append({"program": name, "encoder": kind.kind, "mode": mode, **measure_setting(question, kind, mode)})
            print(f"{name}, {kind.kind}, {mode}: {time.perf_counter() - start:.0f} s", flush=True)
            arguments.out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for what in ("node", "edge"):
        for end in ("clean end", "either end"):
            print(markdown_table(rows, what, end))
    print(composite_table(content["composite"]))


if __name__ == "__main__":
    main()
