"""Are exact effects those of float64, gate by gate? Every node, against plain hooks on the model loaded in float64.

    python -m benchmarks.gates_in_float64 [--model FOLDER --saes FOLDER --pairs FILE ...] [--first N]
    python -m benchmarks.gates_in_float64 --large

For each mode and file of pairs (without files: two tasks of the embedded model): how many effects were measured again
in float64, how many are undecided, the largest difference of a decided effect from the reference, as a share of the
largest effect, and what watching and repeating cost, as shares of the same sweep without. `--large`: how many runs of
the random GPT-NeoX of `cases.py` are measured again, and what that costs, as it is and without a limit.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution import SAE, Effects, LanguageModel, PromptPair, PromptPairs, SplicedModel
from attribution.cones import exact_engine
from attribution.effects.effects import GATES
from benchmarks.cases import NEOX, random_case
from circuits import exact_patching, load_model, load_saes, logit_difference, prompt_pairs, splice

MODES = ("frozen", "zero")
RUNS = 128
TASKS = ("agreement", "indirect_object")


@dataclass(frozen=True)
class Reference:
    """Plain hooks in float64: encode, write back D(f) and the error, add what the patch changes."""

    model: LanguageModel
    saes: dict[str, SAE]
    zero: bool

    def effects(self, pair: PromptPair, nodes: list[tuple[str, int, int]]) -> dict[tuple[str, int, int], float]:
        """m(do(u = p_u)) − m(clean) of features, given as (site, position, feature)."""
        clean, patch = (self._record(ids) for ids in (pair.clean_ids, pair.patch_ids))
        errors = {s: x - self._decoded(s, self._features(s, x)) for s, x in clean.items()}
        before = float(self._metric(pair, self._functions(errors, None), 1)[0])
        found: dict[tuple[str, int, int], float] = {}
        for chosen in _at_one_site(nodes):
            site = chosen[0][0]
            change = self._features(site, patch[site]) - self._features(site, clean[site])
            position, index = (torch.tensor([node[n] for node in chosen]) for n in (1, 2))
            added = change[0, position, index][:, None] * self.saes[site].W_dec[index]
            values = self._metric(pair, self._functions(errors, (site, position, added)), len(chosen))
            found |= dict(zip(chosen, (values - before).tolist(), strict=True))
        return found

    def _features(self, site: str, x: Tensor) -> Tensor:
        return self.saes[site].encode(x).features

    def _decoded(self, site: str, features: Tensor) -> Tensor:
        return features @ self.saes[site].W_dec + self.saes[site].b_dec

    def _functions(
        self, errors: dict[str, Tensor], patch: tuple[str, Tensor, Tensor] | None
    ) -> list[tuple[str, Callable[..., Tensor]]]:
        def splice(site: str) -> Callable[..., Tensor]:
            def function(x: Tensor, hook: object = None) -> Tensor:
                del hook
                y = self._decoded(site, self._features(site, x)) + (0 if self.zero else errors[site])
                y[:, 0] = x[:, 0]  # BOS
                if patch is not None and patch[0] == site:
                    y[torch.arange(len(y)), patch[1]] += patch[2]
                return y

            return function

        return [(site, splice(site)) for site in self.saes]

    def _record(self, ids: tuple[int, ...]) -> dict[str, Tensor]:
        """What arrives at each site: in the bare model, or on reconstructions in `zero` mode."""
        seen: dict[str, Tensor] = {}
        splices = dict(self._functions({}, None)) if self.zero else {}

        def keep(site: str) -> Callable[..., Tensor]:
            def function(x: Tensor, hook: object = None) -> Tensor:
                seen[site] = x
                return splices[site](x, hook) if self.zero else x

            return function

        self.model.module.run_with_hooks(torch.tensor([ids]), fwd_hooks=[(s, keep(s)) for s in self.saes])
        return seen

    def _metric(self, pair: PromptPair, hooks: list[Any], rows: int) -> Tensor:
        logits = self.model.module.run_with_hooks(torch.tensor([pair.clean_ids] * rows), fwd_hooks=hooks)[:, -1]
        return logits[:, pair.answer_id] - logits[:, pair.foil_id]


def _at_one_site(nodes: list[tuple[str, int, int]]) -> Iterator[list[tuple[str, int, int]]]:
    for site in dict.fromkeys(node[0] for node in nodes):
        own = [node for node in nodes if node[0] == site]
        yield from (own[start : start + RUNS] for start in range(0, len(own), RUNS))


def largest_difference(effects: Effects, reference: Reference, pairs: PromptPairs) -> float:
    """Of decided features from the reference, as a share of the largest effect."""
    worst, size = 0.0, float(np.abs(effects.effect).max())
    for example, pair in enumerate(pairs):
        chosen = np.flatnonzero((effects.example == example) & effects.of_kind("feature") & ~effects.undecided)
        columns = (effects.site, effects.position, effects.index)
        nodes = [(effects.sites[s], p, i) for s, p, i in zip(*(c[chosen].tolist() for c in columns), strict=True)]
        found = reference.effects(pair, nodes)
        apart = np.abs(np.array([found[node] for node in nodes]) - effects.effect[chosen])
        worst = max(worst, float(apart.max()))
    return worst / size


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """Of processor time, the least of some runs."""
    found: list[float] = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def costs(spliced: SplicedModel, pairs: PromptPairs, mode: str) -> tuple[float, float]:
    """What watching gates costs, and what repeating nodes costs, as shares of a sweep that does neither."""

    def sweep() -> Effects:
        return exact_patching(spliced, pairs, logit_difference, error_mode=mode)  # pyright: ignore[reportArgumentType]

    runs, keys = exact_engine.ExactEngine._runs, exact_engine.nodes_to_repeat  # pyright: ignore[reportPrivateUsage]
    whole = seconds(sweep)
    exact_engine.nodes_to_repeat = lambda *_: np.zeros(0, np.int64)
    try:
        watched = seconds(sweep)
        exact_engine.ExactEngine._runs = lambda self, *given: runs(self, *given[:2], None)  # pyright: ignore
        bare = seconds(sweep)
    finally:
        exact_engine.ExactEngine._runs, exact_engine.nodes_to_repeat = runs, keys  # pyright: ignore
    return watched / bare - 1, (whole - watched) / bare


def print_repeats_of_a_large_model() -> None:
    """In frozen mode, for one prompt."""
    case = random_case(replace(NEOX, prompts=1))

    def sweep() -> Effects:
        return exact_patching(
            case.spliced, case.pairs, logit_difference, error_mode="frozen", patch_value=case.patch_value
        )

    keys, share = exact_engine.nodes_to_repeat, exact_engine.REPEATED_SHARE
    try:
        exact_engine.nodes_to_repeat = lambda *_: np.zeros(0, np.int64)
        watched = seconds(sweep, times=1)
        exact_engine.nodes_to_repeat = keys
        for exact_engine.REPEATED_SHARE in (share, 1.0):
            start = time.process_time()
            effects = sweep()
            cost = (time.process_time() - start) / watched - 1
            print(
                f"{case.name}, at most {exact_engine.REPEATED_SHARE:.0%}: {len(effects)} effects, "
                f"{int((effects.gates != GATES.index('clear')).sum())} with a gate within rounding, "
                f"{int(effects.repeated.sum())} measured again, {int(effects.undecided.sum())} undecided; repeating "
                f"{cost:+.0%}",
                flush=True,
            )
    finally:
        exact_engine.nodes_to_repeat, exact_engine.REPEATED_SHARE = keys, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--saes", default="jumprelu")
    parser.add_argument("--pairs", type=Path, nargs="*", default=[])
    parser.add_argument("--first", type=int, default=1, help="pairs of each file or task")
    parser.add_argument("--large", action="store_true", help="a random model of 6 layers instead")
    given = parser.parse_args()
    if given.large:
        print_repeats_of_a_large_model()
        return
    model, fine = (load_model(given.model, dtype=dtype) for dtype in (torch.float32, torch.float64))
    spliced = splice(model, load_saes(given.saes))
    fine_saes = {site: spliced.saes[site].to(dtype=torch.float64) for site in spliced.sites}
    sets = {file.stem: prompt_pairs(file, model) for file in given.pairs}
    sets = sets or {task: prompt_pairs(task, model, examples=given.first) for task in TASKS}
    for name, pairs in sets.items():
        for mode in MODES:
            few = pairs.head(given.first)
            effects = exact_patching(spliced, few, logit_difference, error_mode=mode)
            counts = dict(zip(GATES, np.bincount(effects.gates, minlength=len(GATES)).tolist(), strict=True))
            with torch.no_grad():
                apart = largest_difference(effects, Reference(fine, fine_saes, mode == "zero"), few)
            watching, repeating = costs(spliced, few, mode)
            print(
                f"{name}, {mode}: {len(effects)} effects, {counts['float64'] + counts['undecided']} measured again, "
                f"{counts['undecided']} undecided; decided ones differ by {apart:.1e} of the largest; watching "
                f"{watching:+.1%}, repeating {repeating:+.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
