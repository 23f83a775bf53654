"""What chord IG costs, compared with plain input-path IG with the same number of points.

    python -m benchmarks.chord_cost [--points Q] [--repeats R]

For several sets of sites: the median CPU seconds of both methods, on one thread, and the FLOPs of each. FLOPs are those
of matrix products, the SAEs' included, counted by torch's FlopCounterMode. Ends with an error if chord IG takes more
than 1.3 times as long as plain IG.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from attribution import Effects, SplicedModel, gauss_legendre
from circuits import (
    chord_integrated_gradients,
    input_path_integrated_gradients,
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    splice,
)

SITE_SETS = {
    "all 12 sites": ("attn_out", "mlp_out", "resid_post"),
    "resid_post": ("resid_post",),
    "attn_out, mlp_out": ("attn_out", "mlp_out"),
    "mlp_out": ("mlp_out",),
}
MOST_TIMES_PLAIN = 1.3
"""Chord IG takes at most this many times as long as plain IG."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model()
    pairs = prompt_pairs("agreement", model, examples=4)
    print(f"{arguments.points} points, {len(pairs)} pairs, one thread; median of {arguments.repeats} alternating runs")
    print(f"{'sites':20} {'IG CPU s':>9} {'chord':>7} {'ratio':>6} {'IG GFLOP':>9} {'chord':>7} {'ratio':>6}")
    ratios: list[float] = []
    for name, ends in SITE_SETS.items():
        saes = {site: sae for site, sae in load_saes().items() if site.endswith(ends)}
        spliced = splice(model, saes)
        works = [
            _work(m, spliced, pairs, arguments.points)
            for m in (input_path_integrated_gradients, chord_integrated_gradients)
        ]
        seconds = _seconds(works, arguments.repeats)
        flops = [_flops(work) for work in works]
        ratios.append(seconds[1] / seconds[0])
        print(
            f"{name:20} {seconds[0]:9.3f} {seconds[1]:7.3f} {ratios[-1]:6.2f} "
            f"{flops[0] / 1e9:9.2f} {flops[1] / 1e9:7.2f} {flops[1] / flops[0]:6.2f}"
        )
    if max(ratios) > MOST_TIMES_PLAIN:
        raise SystemExit(f"Chord IG costs {max(ratios):.2f} times plain IG; at most {MOST_TIMES_PLAIN} is promised.")


def _work(method: Callable[..., Effects], spliced: SplicedModel, pairs: object, points: int) -> Callable[[], Effects]:
    return lambda: method(spliced, pairs, logit_difference, error_mode="path", points=gauss_legendre(points))


def _seconds(works: list[Callable[[], Effects]], repeats: int) -> list[float]:
    """The median CPU seconds of each. They are run in turn, so that a busy machine is fair to both."""
    found: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, times in zip(works, found, strict=True):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
    return [statistics.median(times) for times in found]


class _WholeModel:
    """Replaces the counter's module tracker, which refuses gradients with respect to leaves."""

    parents = frozenset({"Global"})

    def __enter__(self) -> "_WholeModel":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def _flops(work: Callable[[], Effects]) -> int:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _WholeModel()  # pyright: ignore[reportAttributeAccessIssue]
    with counter:
        work()
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
