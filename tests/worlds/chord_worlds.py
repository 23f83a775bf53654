"""Models for chord IG's laws: one whose numbers are chosen by hand, and random ones of every encoder kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.chord.chord_result import ChordAttribution
from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from tests.worlds.tiny_models import PLAIN_SITES, WIDTH, NoBOS, PlainModel, World

CLEAN, PATCH, ANSWER, FOIL = 2, 3, 4, 5
ONE_TOKEN = PromptPairs((PromptPair((CLEAN,), (PATCH,), ANSWER, FOIL),))
"""With `through_model`: the metric's change between two chosen embeddings."""

PAIRS = PromptPairs(
    (
        PromptPair((6, 5, 9, 3), (6, 5, 12, 3), 4, 7),
        PromptPair((7, 8, 2, 11, 4), (7, 20, 2, 15, 4), 9, 2),
        PromptPair((5, 6), (14, 6), 3, 13),
    )
)

KINDS: tuple[type[SAE], ...] = (ReLU, JumpReLU, BatchTopK, Gated, ProLU, TopK)
MIXED: dict[str, type[SAE]] = dict(zip(PLAIN_SITES, KINDS, strict=True))
"""Every kind at once, at every site of the plain model."""


def vector(*entries: float) -> Tensor:
    """A vector of the model's width that begins so and goes on with zeros."""
    whole = torch.zeros(WIDTH, dtype=torch.float64)
    whole[: len(entries)] = torch.tensor(entries, dtype=torch.float64)
    return whole


def through_model(clean: Tensor, patch: Tensor, readout: Tensor) -> LanguageModel:
    """Two blocks that change nothing; embeddings of `CLEAN` and `PATCH`; m = readout · last residual stream."""
    model = PlainModel(lambda x: 0.7 * x)
    with torch.no_grad():
        for block in model.blocks:
            for name in ("mix", "value", "up", "down"):
                getattr(block, name).zero_()
        model.embed.weight[CLEAN], model.embed.weight[PATCH] = clean, patch
        model.unembed.weight.zero_()
        model.unembed.bias.zero_()
        model.unembed.weight[ANSWER] = readout
    return LanguageModel(model, NoBOS())


def reader(kind: type[SAE], reads: Sequence[Tensor], writes: Sequence[Tensor], **tensors: Any) -> SAE:
    """An SAE whose feature n has projection `reads[n]` · x and decoder direction `writes[n]`; b_dec is 0."""
    rest: dict[str, Any] = {n: v if n == "k" else torch.tensor(v, dtype=torch.float64) for n, v in tensors.items()}
    return kind(W_enc=torch.stack(list(reads), 1), W_dec=torch.stack(list(writes)), b_dec=vector(), **rest)


def hand_made(model: LanguageModel, saes: Mapping[str, SAE]) -> World:
    return World(model, dict(saes))


def random_world(
    seed: int, kinds: Mapping[str, type[SAE]], bend: Callable[[Tensor], Tensor] = torch.tanh, d_sae: int = 8
) -> World:
    """A random plain model and random SAEs, half of whose gates are open on a typical activation."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    model = PlainModel(bend)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(*parameter.shape) * (1.0 if "embed" in name else 0.2))
        for block in model.blocks:
            mix = block.get_parameter("mix")
            mix.copy_(mix.abs().tril())
        model.unembed.weight.mul_(0.3)
    saes: dict[str, SAE] = {}
    for site, kind in kinds.items():
        shared: dict[str, Any] = {
            "W_enc": normal(WIDTH, d_sae) / 4,
            "W_dec": normal(d_sae, WIDTH) / d_sae**0.5,
            "b_dec": 0.1 * normal(WIDTH),
            "apply_b_dec_to_input": True,
        }
        rest: dict[type[SAE], dict[str, Any]] = {
            ReLU: {"b_enc": 0.3 * normal(d_sae)},
            JumpReLU: {"b_enc": 0.2 + 0.1 * normal(d_sae), "threshold": 0.2 + 0.2 * normal(d_sae).abs()},
            BatchTopK: {"b_enc": 0.3 * normal(d_sae), "threshold": torch.full((d_sae,), 0.2).double()},
            Gated: {"b_gate": 0.3 * normal(d_sae), "b_mag": 0.2 + 0.2 * normal(d_sae), "r_mag": 0.3 * normal(d_sae)},
            ProLU: {"b_enc": -0.2 - 0.1 * normal(d_sae)},
            TopK: {"b_enc": 0.2 * normal(d_sae), "k": 3},
        }
        saes[site] = kind(**shared, **rest[kind])
    return World(LanguageModel(model, NoBOS()), saes)


def sum_of(chord: ChordAttribution, example: int, kind: str, sites: Sequence[str]) -> float:
    """Σ attributions of one kind of node over some sites."""
    effects = chord.effects
    chosen = effects.of_kind(kind) & (effects.example == example)
    return float(sum(effects.effect[chosen & effects.at(site)].sum() for site in sites))


def undivided_of(chord: ChordAttribution, example: int, sites: Sequence[str]) -> float:
    ledger = chord.ledger
    numbers = [ledger.sites.index(site) for site in sites]
    return float(ledger.undivided[(ledger.example == example) & np.isin(ledger.site, numbers)].sum())


def gross(chord: ChordAttribution, example: int) -> float:
    """What rounding and quadrature are measured against: the largest Σ |attribution| of any site, or |total|."""
    total = abs(float(chord.effects.total_effect[example]))
    return max(total, total * float(chord.gross_flow[example].max()))
