"""Small SAEs trained on worlds of atoms, one for each world, all at once.

    loss = |x − x̂|² + λ Σ f      ReLU, decoder directions of length 1
    loss = |x − x̂|²              TopK: the k largest features are kept

Adam; the learning rate falls over the last quarter. Training many at once costs little more than training one.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from attribution import SAE, ReLU, TopK
from benchmarks.composites.atom_worlds import AtomWorld

Encoder = Literal["relu", "topk"]


def train(
    worlds: Sequence[AtomWorld],
    encoder: Encoder,
    d_sae: int,
    *,
    penalty: float = 0.1,
    k: int = 2,
    steps: int = 3000,
    batch: int = 256,
    seed: int = 0,
) -> list[SAE]:
    """An SAE for each world. `penalty` is λ of ReLU, `k` of TopK."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(worlds), d_sae, worlds[0].d_in
    decoder = normalize(torch.randn(shape, generator=generator), dim=-1).requires_grad_()
    encoder_weights = decoder.detach().clone().requires_grad_()
    b_enc, b_dec = (torch.zeros(shape[0], 1, size, requires_grad=True) for size in shape[1:])
    optimiser = torch.optim.Adam([decoder, encoder_weights, b_enc, b_dec], lr=3e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, 4 * (1 - step / steps)))
    for _ in range(steps):
        x = torch.stack([world.draw(batch, generator) for world in worlds])
        z = einsum(x - b_dec, encoder_weights, "world sample d_in, world d_sae d_in -> world sample d_sae") + b_enc
        features = z.relu() if encoder == "relu" else _largest(z.relu(), k)
        written = einsum(features, decoder, "world sample d_sae, world d_sae d_in -> world sample d_in") + b_dec
        loss = (x - written).square().sum(-1).mean(1).sum()
        if encoder == "relu":
            loss = loss + penalty * features.sum(-1).mean(1).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            decoder /= decoder.norm(dim=-1, keepdim=True)
    return [
        _sae(encoder, k, *(part[n].detach() for part in (encoder_weights, decoder, b_enc, b_dec)))
        for n in range(len(worlds))
    ]


def _largest(features: Float[Tensor, "world sample d_sae"], k: int) -> Float[Tensor, "world sample d_sae"]:
    kept = features.topk(k, dim=-1)
    return torch.zeros_like(features).scatter(-1, kept.indices, kept.values)


def _sae(
    encoder: Encoder,
    k: int,
    weights: Float[Tensor, "d_sae d_in"],
    decoder: Float[Tensor, "d_sae d_in"],
    b_enc: Float[Tensor, "1 d_sae"],
    b_dec: Float[Tensor, "1 d_in"],
) -> SAE:
    given: dict[str, Any] = {
        "W_enc": weights.T.contiguous(),
        "W_dec": decoder,
        "b_enc": b_enc[0],
        "b_dec": b_dec[0],
        "apply_b_dec_to_input": True,
    }
    return ReLU(**given) if encoder == "relu" else TopK(**given, k=k)
