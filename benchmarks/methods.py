"""What every method costs, against plain hooks and against the FLOP bound of its cones.

    python -m benchmarks.methods [--sample N] [--out benchmarks/RESULTS.md]
    python -m benchmarks.methods --device cuda [--out benchmarks/RESULTS_GPU.md]

Measures seconds, peak memory above the loaded model, and FLOPs (`cost_of_work.py`); and beside each row of exact
patching the rate of a matrix product. Plain hooks are measured on a sample of the nodes and scaled up. Their effects
must be those of exact patching. On the large model, `frozen` and `zero` are measured on the first pair and scaled up.
On a GPU the model has the shape of GPT-2 small, in float32 and in bfloat16.
"""

import argparse
import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attribution import Effects, ErrorMode, Room, counterfactual, gauss_legendre, midpoint, prepare
from attribution.cones.cone import Cone
from attribution.cones.cone_cost import ConeCost, cone_flops
from attribution.effects.patches import all_patches
from attribution.models.architectures import plain_model
from benchmarks.bare_passes import atp_over_bare_passes
from benchmarks.cases import GPT2_SMALL, NEOX, Case, embedded_case, random_case
from benchmarks.cost_of_work import Cost, cost_of, flops_of, machine_in_words, matmul_rate
from benchmarks.plain_hooks import PlainHooks, batches_of_neighbours, evenly_spaced
from circuits import (
    attribution_patching,
    chord_integrated_gradients,
    exact_patching,
    input_path_integrated_gradients,
    integrated_gradients,
    logit_difference,
)

HEADING = """# What the methods cost

`{command}`, {date}, {machine}.

{seconds}; peak memory above the loaded model; FLOPs of matrix products and of decoding active features
(norms, softmax and activation functions are not counted). Those of cones are worked out by
`attribution.cones.cone_cost`, which a test holds equal to what torch counts; the decoding is not in them. The bound is
what the cones' FLOPs take, each run alone, at the rate of a matrix product of a block's shape that was measured beside
the row. "Scaled": measured on a sample of the nodes (plain hooks) or on the first prompt, and scaled up. The effects of
plain hooks were those of exact patching.
"""

COMMANDS = {"cpu": "make bench", "cuda": "python -m benchmarks.methods --device cuda"}
SECONDS = {"cpu": "CPU seconds on one thread", "cuda": "Seconds by the clock"}

BATCH_SIZES = {"cpu": (32, 64, 128), "cuda": (128, 256, 512)}
"""Sizes of batched plain forward passes, by device. The fastest is reported."""

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""Largest difference allowed between an effect of exact patching and of plain hooks, as a share of the largest effect.

It is large in half precision, in which a logit is rounded by more than most effects.
"""


@dataclass(frozen=True)
class Row:
    """One method on one case.

    Attributes:
        bound: FLOPs of the cones of all nodes, each run alone; None where no cones are run.
        rate: FLOPs per second of a matrix product, measured beside the row; None likewise.
    """

    name: str
    nodes: int
    cost: Cost
    bound: float | None = None
    rate: float | None = None

    @property
    def over_bound(self) -> float | None:
        """The seconds divided by those that `bound` takes at `rate`."""
        return None if self.bound is None or self.rate is None else self.cost.seconds / (self.bound / self.rate)


def exact_row(case: Case, mode: ErrorMode, times: int = 1, repeats: int = 1) -> tuple[Effects, Row]:
    """Exact patching of all nodes: its effects, and its row scaled up by `times`. FLOPs are those of `cone_cost`."""
    model = case.spliced.model
    product = partial(matmul_rate, model.d_model, device=case.device, dtype=model.dtype)
    room = Room.of(case.spliced, case.pairs, mode)
    options: dict[str, Any] = {"error_mode": mode, "patch_value": case.patch_value, "bytes_at_once": room.cone_bytes}
    before = product()
    effects, cost = cost_of(
        lambda: exact_patching(case.spliced, case.pairs, logit_difference, **options), repeats, case.device
    )
    rate = (before + product()) / 2
    flops = cone_cost(case, mode, room.cone_bytes)
    cost = cost.with_flops(flops.executed).times(times)
    return effects, Row(f"exact, cones, {mode}", len(effects) * times, cost, flops.bound * times, rate)


def cone_cost(case: Case, mode: ErrorMode, bytes_at_once: int) -> ConeCost:
    """The FLOPs of a case's patched runs, and those that no grouping of the runs can avoid."""
    spliced = case.spliced
    with torch.no_grad(), spliced.model.frozen():
        situation = prepare(spliced, case.pairs.batch(device=case.device), logit_difference, mode, case.patch_value)
        cone = Cone.of(spliced, plain_model(spliced.model), situation.clean, mode)
        return cone_flops(cone, all_patches(situation), bytes_at_once=bytes_at_once)


def gradient_rows(case: Case) -> Iterator[Row]:
    """AtP and the kinds of integrated gradients. Path methods go to the patch prompt, whatever the patch value is."""
    options: dict[str, Any] = {"patch_value": case.patch_value}
    works: dict[str, Callable[[], Effects]] = {
        "AtP": lambda: attribution_patching(case.spliced, case.pairs, logit_difference, **options),
        "AtP, patch prompt": lambda: attribution_patching(case.spliced, case.pairs, logit_difference),
        "IG, site path, 5 points": lambda: integrated_gradients(
            case.spliced, case.pairs, logit_difference, points=midpoint(5), **options
        ),
        "IG, input path, 10 points": lambda: input_path_integrated_gradients(
            case.spliced, case.pairs, logit_difference, points=gauss_legendre(10)
        ),
        "chord IG, 10 points": lambda: chord_integrated_gradients(
            case.spliced, case.pairs, logit_difference, points=gauss_legendre(10)
        ),
    }
    if case.patch_value is counterfactual:
        del works["AtP, patch prompt"]
    for name, work in works.items():
        effects, cost = cost_of(work, 3, case.device)
        yield Row(name, len(effects), cost.with_flops(flops_of(work)))


def plain_rows(case: Case, effects: Effects, sample: int) -> Iterator[Row]:
    """Plain hooks on a sample of the nodes of exact patching in `live` mode, scaled up.

    Ends with an error if the two give different effects.
    """
    plain = PlainHooks(case)
    with torch.no_grad():
        chosen = evenly_spaced(len(effects), sample)
        writes = [plain.write(effects, n) for n in chosen]
        plain.one(writes[0])
        found, cost = cost_of(lambda: [plain.one(write) for write in writes], device=case.device)
        refuse_difference(case, effects, chosen, np.array(found))
        cost = cost.with_flops(len(writes) * flops_of(lambda: plain.one(writes[0])))
        yield Row("plain, one forward per node", len(effects), cost.times(len(effects) / len(chosen)))
        rows = [_batched_row(plain, effects, size) for size in BATCH_SIZES[case.device]]
        yield min(rows, key=lambda row: row.cost.seconds)


def _batched_row(plain: PlainHooks, effects: Effects, size: int) -> Row:
    batches = batches_of_neighbours(effects, size, 4)
    chosen = [n for batch in batches for n in batch]
    writes = [[plain.write(effects, n) for n in batch] for batch in batches]
    found, cost = cost_of(lambda: [plain.batched(batch) for batch in writes], 2, plain.case.device)
    cost = cost.with_flops(flops_of(lambda: [plain.batched(batch) for batch in writes]))
    refuse_difference(plain.case, effects, chosen, np.concatenate(found))
    return Row(f"plain, {size} to a forward, 2 logits", len(effects), cost.times(len(effects) / len(chosen)))


def refuse_difference(case: Case, effects: Effects, chosen: list[int], found: np.ndarray) -> None:
    """End with an error if the effects of plain hooks are not those of exact patching."""
    difference = np.abs(effects.effect[chosen] - found).max()
    if difference > TOLERANCE[case.spliced.model.dtype] * np.abs(effects.effect).max():
        raise SystemExit(
            f"Plain hooks and exact patching disagree by {difference:.1e}: their times are not comparable."
        )


def rows_of(case: Case, sample: int, part_of_gated: bool) -> list[Row]:
    """The rows of every method on one case.

    With `part_of_gated`, `frozen` and `zero` are measured on the first pair and scaled up.
    """
    part, times = (case.first_pair(), len(case.pairs)) if part_of_gated else (case, 1)
    repeats = 1 if part_of_gated else 5
    exact_patching(part.spliced, part.pairs.head(1), logit_difference, only=np.zeros(0, np.int64))  # warms up
    effects, live = exact_row(case, "live", repeats=repeats)
    gated = [exact_row(part, mode, times, repeats)[1] for mode in ("frozen", "zero")]
    return [live, *gated, *gradient_rows(case), *plain_rows(case, effects, sample)]


def report(case: Case, rows: list[Row]) -> str:
    """The table of one case and what follows from it, in Markdown."""
    live, plain, batched = rows[0], rows[-2], rows[-1]
    head = "| method | nodes | s | peak memory, MB | TFLOP | bound, TFLOP | s / bound | per node, live exact = 1 |"
    lines = [f"## {case.name}", "", _case_in_words(case), "", head, "| --- |" + " --: |" * 7]
    unit = live.cost.seconds / live.nodes
    for row in rows:
        scaled = " (scaled)" if row.cost.scaled != 1 else ""
        lines.append(
            f"| {row.name}{scaled} | {row.nodes:,} | {row.cost.seconds:,.2f} | {_megabytes(row.cost.peak)} "
            f"| {_tera(row.cost.flops)} | {_tera(row.bound)} | {_ratio(row.over_bound)} "
            f"| {row.cost.seconds / row.nodes / unit:.3g} |"
        )
    rates = ", ".join(f"{row.rate / 1e9:,.0f}" for row in rows if row.rate)
    shares = ", ".join(f"{row.cost.flops / row.cost.seconds / row.rate:.0%}" for row in rows if row.rate)
    atp = atp_over_bare_passes(case)
    lines += [
        "",
        f"- exact patching against one plain forward per node: {plain.cost.seconds / live.cost.seconds:.1f} times less "
        f"time, {plain.cost.flops / live.cost.flops:.1f} times fewer FLOPs",
        f"- against batched forwards with two logits: {batched.cost.seconds / live.cost.seconds:.1f} times less "
        f"time, {batched.cost.flops / live.cost.flops:.1f} times fewer FLOPs",
        f"- matrix products of a block's shape beside the three rows of cones: {rates} GFLOP/s; the rows reach "
        f"{shares} of them",
        f"- AtP to the patch prompt takes {atp:.2f} times its bare forwards, its backward, and one encode and decode "
        "per site and run (median of 7)",
        "",
    ]
    return "\n".join(lines)


def _case_in_words(case: Case) -> str:
    spliced, pairs = case.spliced, case.pairs
    sae = next(iter(spliced.saes.values()))
    tokens = "/".join(str(n) for n in sorted({len(pair) for pair in pairs}))
    return (
        f"{len(spliced.sites)} SAEs of {sae.d_sae:,} features, {len(pairs)} prompts of {tokens} tokens; patch value "
        f"{case.patch_value.name}."
    )


def _megabytes(peak: int | None) -> str:
    return "–" if peak is None else f"{peak / 2**20:,.0f}"


def _tera(flops: float | None) -> str:
    return "" if flops is None else f"{flops / 1e12:.3g}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sample", type=int, default=200, help="nodes that are measured by one plain forward pass each"
    )
    parser.add_argument("--device", choices=tuple(COMMANDS), default="cpu")
    parser.add_argument("--out", type=Path, help="by default RESULTS.md or RESULTS_GPU.md beside this file")
    arguments = parser.parse_args()
    device = arguments.device
    if device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: leave --device out.")
    torch.set_num_threads(1)  # CPU seconds are the process's: with more threads, their waiting would count
    date = datetime.datetime.now(datetime.UTC).date()
    parts = [
        HEADING.format(command=COMMANDS[device], date=date, machine=machine_in_words(device), seconds=SECONDS[device])
    ]
    for make, part_of_gated in _cases(device):
        case = make()
        parts.append(report(case, rows_of(case, arguments.sample, part_of_gated)))
        print(parts[-1], flush=True)
    out = arguments.out or Path(__file__).with_name("RESULTS.md" if device == "cpu" else "RESULTS_GPU.md")
    out.write_text("\n".join(parts), encoding="utf-8")


def _cases(device: str) -> list[tuple[Callable[[], Case], bool]]:
    """The cases of a device, and whether their `frozen` and `zero` are measured on the first pair alone."""
    if device == "cpu":
        return [(embedded_case, False), (lambda: random_case(NEOX), True)]
    dtypes = torch.float32, torch.bfloat16
    return [(partial(random_case, replace(GPT2_SMALL, device=device, dtype=dtype)), False) for dtype in dtypes]


if __name__ == "__main__":
    main()
