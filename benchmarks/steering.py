"""What does it cost to steer a model to the other answer, by a feature and by other directions?

    python -m benchmarks.steering [--model FOLDER --saes FOLDER --pairs FILE] [--out FILE]

Pairs with the commonest answer choose the feature: that whose patches away from this answer cost it most (attribution
patching, summed over places where the feature is stronger in the clean prompt). Prompts of other pairs, for which that
answer is wrong, are steered towards it: by the feature, by the difference of the site's means at the last position,
clean less patch, and by random directions. Measures at each strength the metric (negative: the wrong answer is
preferred), KL of the next token, fluency of seeded continuations, and KL on the clean prompts that chose the feature.
Strength 1 is the feature's largest activation on these; random directions are as long as it is then. Writes JSON and
prints Markdown.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attribution import PromptPairs, SplicedModel
from circuits import (
    Sampling,
    Steering,
    attribution_patching,
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    splice,
    steer,
)
from graphs import SteeringSweep

SEED, EXAMPLES, CHOOSING, STEERED, RANDOM_DRAWS = 0, 300, 48, 16, 3
STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
RANDOM = "random"


class Case:
    """A model, the pairs that choose the feature, and those whose clean prompts are steered."""

    def __init__(self, spliced: SplicedModel, pairs: PromptPairs) -> None:
        (right, wrong), _ = Counter((p.answer_id, p.foil_id) for p in pairs).most_common(1)[0]
        own = [p for p in pairs if (p.answer_id, p.foil_id) == (right, wrong)]
        others = [p for p in pairs if (p.answer_id, p.foil_id) == (wrong, right)]
        self.spliced, self.answer = spliced, spliced.model.token_text(right)
        self.choosing, self.steered = PromptPairs(tuple(own[:CHOOSING])), PromptPairs(tuple(others[:STEERED]))
        self.documents = [list(pair.clean_ids) for pair in self.choosing]
        self.site, self.index = self._strongest_feature()

    def _strongest_feature(self) -> tuple[str, int]:
        effects = attribution_patching(self.spliced, self.choosing, logit_difference)
        chosen = effects.of_kind("feature") & (effects.clean > effects.patch)
        places = zip(effects.site[chosen].tolist(), effects.index[chosen].tolist(), strict=True)
        sums: dict[tuple[int, int], float] = {}
        for place, effect in zip(places, effects.effect[chosen].tolist(), strict=True):
            sums[place] = sums.get(place, 0.0) + effect
        site, index = min(sums, key=lambda place: sums[place])
        return effects.sites[site], index

    def sweeps(self) -> Iterator[tuple[str, SteeringSweep]]:
        """Each way of steering: its name, and what it does."""
        feature, direction = f"{self.site}/{self.index}:add=1max", f"{self.site}/direction:add=1"
        yield "feature", (found := self._sweep(feature))
        yield "feature, from the last position on", self._sweep(feature, when="generating")
        yield "difference of means", self._sweep(direction, direction=self._difference())
        length = found.maxima[feature] * self.spliced.saes[self.site].W_dec[self.index].norm()
        draw = torch.Generator().manual_seed(SEED)
        for _ in range(RANDOM_DRAWS):
            drawn = torch.randn(self.spliced.saes[self.site].d_in, generator=draw)
            yield RANDOM, self._sweep(direction, direction=drawn / drawn.norm() * length)

    def _sweep(self, change: str, **about: Any) -> SteeringSweep:
        steering = Steering.named([change], self.spliced, self.steered, documents=self.documents, **about)
        return steer(
            self.spliced,
            self.steered,
            logit_difference,
            steering,
            strengths=STRENGTHS,
            sampling=Sampling(new_tokens=12, samples=2, seed=SEED),
            documents=self.documents,
        )

    def _difference(self) -> Float[Tensor, " width"]:
        batch = self.choosing.batch()
        rows = torch.arange(len(batch.last))
        clean, patch = (
            self.spliced.record(ids, batch.last).sites[self.site].output[rows, batch.last]
            for ids in (batch.clean_ids, batch.patch_ids)
        )
        return (clean - patch).mean(0)


def row_of(strength: float, sweeps: Sequence[SteeringSweep]) -> dict[str, float]:
    """The figures at one strength, as means over sweeps."""
    found = [sweep.at(strength) for sweep in sweeps]
    turned = [np.mean([value < 0 for value in own.metric]) for own in found]
    columns = {
        "metric": [own.mean_metric for own in found],
        "turned": turned,
        "kl": [own.mean_kl for own in found],
        "fluency": [own.fluency for own in found],
        "kl_elsewhere": [own.text_kl for own in found],
    }
    return {"strength": strength, **{name: float(np.mean(values)) for name, values in columns.items()}}


def measure(case: Case) -> dict[str, Any]:
    """Every way of steering at every strength."""
    found: dict[str, list[SteeringSweep]] = {}
    for name, sweep in case.sweeps():
        found.setdefault(name, []).append(sweep)
    ways = {name: [row_of(s, own) for s in (0.0, *STRENGTHS)] for name, own in found.items()}
    return {
        "model": case.spliced.model.name,
        "answer": case.answer,
        "feature": f"{case.site}/{case.index}",
        "maximum": next(iter(found["feature"][0].maxima.values())),
        "choosing": len(case.choosing),
        "steered": len(case.steered),
        "ways": ways,
    }


def markdown(result: dict[str, Any]) -> str:
    """The unsteered model; of each way the first strength that turns half of the prompts, else the largest."""
    bare = result["ways"]["feature"][0]
    lines = [
        f"{result['model']}, towards {result['answer']!r} by {result['feature']}",
        "",
        "| steered by | strength | metric | turned | KL | fluency | KL elsewhere |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        _line("nothing", bare),
    ]
    for name, rows in result["ways"].items():
        enough = [row for row in rows if row["turned"] >= 0.5]
        lines.append(_line(name, enough[0] if enough else rows[-1]))
    return "\n".join(lines)


def _line(name: str, row: dict[str, float]) -> str:
    return (
        f"| {name} | {row['strength']:g} | {row['metric']:+.2f} | {row['turned']:.0%} | {row['kl']:.3f} | "
        f"{row['fluency']:.2f} | {row['kl_elsewhere']:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--saes")
    parser.add_argument("--pairs")
    parser.add_argument("--out", type=Path, default=Path("out/steering.json"))
    args = parser.parse_args()
    model = load_model(args.model) if args.model else load_model()
    spliced = splice(model, load_saes(args.saes) if args.saes else load_saes())
    pairs = prompt_pairs(args.pairs or "agreement", model, examples=EXAMPLES, seed=SEED)
    result = measure(Case(spliced, pairs))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
