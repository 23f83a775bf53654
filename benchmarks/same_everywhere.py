"""Are exact effects the same on every device and in every batch size? All nodes of a few pairs, in every error mode.

    python -m benchmarks.same_everywhere [--device cuda] [--model FOLDER --saes FOLDER --pairs FILE ...] [--first N]

The reference is a CPU in batches of 16 pairs. For each mode and batch size: the seconds, the nodes that only one of the
two has, and the largest difference of decided effects, as a share of the largest effect. A node that is on one side
only is named with its values: its gate stands where the rule for gates at their threshold ends (`gate_rounding.py`).
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from attribution import Effects, PromptPairs, SplicedModel
from circuits import exact_patching, load_model, load_saes, logit_difference, prompt_pairs, splice

MODES = ("live", "frozen", "zero")
SIZES = ((1, 256), (2, 7), (4, 256), (8, 8), (16, 1024))
"""Pairs in a batch, and patched runs of whole blocks at a time."""
TASKS = ("agreement", "indirect_object")


def worlds(given: argparse.Namespace, device: str) -> tuple[SplicedModel, dict[str, PromptPairs]]:
    """The spliced model on a device, and its pairs by name."""
    model = load_model(given.model, device=device)
    spliced = splice(model, load_saes(given.saes, device=device))
    sets = {Path(file).stem: prompt_pairs(file, model) for file in given.pairs}
    sets = sets or {task: prompt_pairs(task, model, examples=given.first) for task in TASKS}
    return spliced, {name: pairs.head(given.first) for name, pairs in sets.items()}


def only_in(one: Effects, other: Effects) -> Iterator[str]:
    """The nodes that `one` alone has, in words."""
    for n in np.flatnonzero(~np.isin(one.keys(), other.keys())).tolist():
        place = f"pair {one.example[n]}, {one.sites[one.site[n]]}@{one.position[n]}/{one.index[n]}"
        yield f"{place}: {one.clean[n]:.4g} -> {one.patch[n]:.4g}, effect {one.effect[n]:.2g}"


def largest_difference(one: Effects, other: Effects) -> float:
    """Of effects that are decided in both, as a share of the largest."""
    _, mine, theirs = np.intersect1d(one.keys(), other.keys(), return_indices=True)
    decided = ~(one.undecided[mine] | other.undecided[theirs])
    apart = np.abs(one.effect[mine] - other.effect[theirs])[decided]
    return float(apart.max(initial=0.0) / np.abs(one.effect).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--saes", default="jumprelu")
    parser.add_argument("--pairs", nargs="*", default=[])
    parser.add_argument("--first", type=int, default=4, help="pairs of each file or task")
    given = parser.parse_args()
    (here, own), (there, others) = worlds(given, "cpu"), worlds(given, given.device)
    name = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else given.device
    print(f"{name}, torch {torch.__version__}")
    for task in own:
        for mode in MODES:
            reference = exact_patching(here, own[task], logit_difference, error_mode=mode)
            for pairs, runs in SIZES:
                start = time.perf_counter()
                asked = there, others[task], logit_difference
                found = exact_patching(*asked, error_mode=mode, batch_size=pairs, runs_at_once=runs)
                seconds = time.perf_counter() - start
                apart = [*only_in(reference, found), *only_in(found, reference)]
                print(
                    f"{task}, {mode}, {pairs} pairs at a time: {len(reference):,} nodes, {seconds:.1f} s, "
                    f"{len(apart)} on one side only, decided effects differ by "
                    f"{largest_difference(reference, found):.1e}",
                    *apart,
                    sep="\n    ",
                    flush=True,
                )


if __name__ == "__main__":
    main()
