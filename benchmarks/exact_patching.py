"""Exact patching of all nodes of one agreement pair: ours against one `run_with_hooks` per node.

    python benchmarks/exact_patching.py [--sample N]

Prints CPU seconds of both in one run, their ratio, and the model FLOPs that each did (matrix products, counted by
torch's FlopCounterMode). The two must agree on every effect. `--sample` runs the plain way on N nodes only and
scales it up.
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from attribution.effects import Effects
from attribution.exact_patching import exact_patching
from attribution.language_model import ENTRY, LanguageModel
from attribution.metric import logit_difference
from attribution.prompt_pairs import PromptPair
from attribution.saes import SAE
from attribution.splice import SplicedModel
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.tasks.prompts import prompt_pairs

T = TypeVar("T")


class Plain:
    """The plain way, in live mode: for each node one whole forward with one hook that adds the node's change."""

    def __init__(self, model: LanguageModel, saes: dict[str, SAE], pair: PromptPair) -> None:
        self.model, self.saes, self.pair = model, saes, pair
        self.clean, self.patch = torch.tensor([pair.clean_ids]), torch.tensor([pair.patch_ids])
        names = [ENTRY, *saes]
        _, self.clean_cache = model.module.run_with_cache(self.clean, names_filter=names)
        _, self.patch_cache = model.module.run_with_cache(self.patch, names_filter=names)
        self.baseline = self._metric(model.module(self.clean))

    def _metric(self, logits: torch.Tensor) -> float:
        return float(logits[0, -1, self.pair.answer_id] - logits[0, -1, self.pair.foil_id])

    def change(self, site: str, kind: str, position: int, index: int) -> tuple[str, torch.Tensor]:
        """The hook to write at, and what the write adds."""
        if kind == "token":
            return ENTRY, (self.patch_cache[ENTRY] - self.clean_cache[ENTRY])[0, position]
        sae = self.saes[site]
        # Whole activations are encoded, as ours are: a gate at its threshold opens or closes by a rounding error.
        x, x_patch = self.clean_cache[site], self.patch_cache[site]
        f, f_patch = sae.encode(x), sae.encode(x_patch)
        if kind == "feature":
            return site, (f_patch.features - f.features)[0, position, index] * sae.W_dec[index]
        reconstruction, patched = sae.decode(f.features, f.frame), sae.decode(f_patch.features, f_patch.frame)
        return site, ((x_patch - patched) - (x - reconstruction))[0, position]

    def effect(self, hook: str, added: torch.Tensor, position: int) -> float:
        """One forward."""

        def write(activation: torch.Tensor, hook: object) -> torch.Tensor:
            changed = activation.clone()
            changed[0, position] += added
            return changed

        return self._metric(self.model.module.run_with_hooks(self.clean, fwd_hooks=[(hook, write)])) - self.baseline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=None, help="nodes measured the plain way; default: all")
    sample = parser.parse_args().sample

    torch.set_num_threads(1)  # small matrices: threads only wait for each other, in both ways
    model, saes = embedded_model(), embedded_saes()
    pairs = prompt_pairs("agreement", "train", 1, 0, model)
    spliced = SplicedModel(model, saes)
    with torch.no_grad():
        plain = Plain(model, saes, pairs[0])
        exact_patching(spliced, pairs, logit_difference)  # warm-up
        ours, our_seconds = _timed(lambda: exact_patching(spliced, pairs, logit_difference))
        with FlopCounterMode(display=False) as counter:
            exact_patching(spliced, pairs, logit_difference)
        our_flops = counter.get_total_flops()

        chosen = np.arange(len(ours)) if sample is None else np.linspace(0, len(ours) - 1, sample)
        changes = [(*plain.change(*_node(ours, n)), int(ours.position[n])) for n in map(int, chosen)]
        effects, seconds = _timed(lambda: [plain.effect(*change) for change in changes])
        with FlopCounterMode(display=False) as counter:
            plain.effect(*changes[0])
        plain_flops = counter.get_total_flops() * len(ours)
    plain_seconds = seconds * len(ours) / len(chosen)
    difference = np.abs(np.array(effects) - ours.effect[chosen.astype(int)]).max()

    scaled = "" if sample is None else f" (scaled up from {len(chosen)})"
    print(f"{len(ours)} nodes, prompt of {len(pairs[0])} tokens, {len(saes)} SAEs, one thread")
    print(f"one run_with_hooks per node  {plain_seconds:9.2f} CPU s   {plain_flops / 1e9:8.2f} model GFLOP{scaled}")
    print(f"exact_patching               {our_seconds:9.2f} CPU s   {our_flops / 1e9:8.2f} model GFLOP")
    print(f"ratio                        {plain_seconds / our_seconds:9.1f} x       {plain_flops / our_flops:8.2f} x")
    print(f"largest difference of an effect {difference:.1e}, largest effect {np.abs(ours.effect).max():.2f}")
    if difference > 1e-4:
        raise SystemExit("The two disagree.")


def _node(effects: Effects, n: int) -> tuple[str, str, int, int]:
    kind = ("feature", "error", "token")[effects.kind[n]]
    return effects.sites[effects.site[n]], kind, int(effects.position[n]), int(effects.index[n])


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


if __name__ == "__main__":
    main()
