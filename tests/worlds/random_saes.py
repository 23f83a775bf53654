"""Small random SAEs of every kind, for the tests."""

from typing import Any

import torch
from torch import Tensor

from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, Normalisation, ProLU, ReLU, TopK

KINDS: tuple[type[SAE], ...] = (ReLU, JumpReLU, Gated, TopK, BatchTopK, ProLU)
D_IN, D_SAE, K = 12, 40, 5


def random_sae(
    kind: type[SAE],
    *,
    normalisation: Normalisation = "none",
    apply_b_dec_to_input: bool = True,
    site: str = "blocks.3.hook_mlp_out",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> SAE:
    """An SAE whose features are sometimes on and sometimes off, on activations of about unit size."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    sizes = {"d_in": D_IN, "d_sae": D_SAE}
    tensors = {name: 0.5 * draw(*(sizes[a] for a in axes)) for name, axes in kind.tensor_axes().items()}
    if kind is BatchTopK:
        tensors["threshold"] = torch.full_like(tensors["threshold"], 0.7)
    elif "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].abs()
    settings: dict[str, Any] = {"k": K} if kind is TopK else {}
    return kind(
        **tensors,
        **settings,
        normalisation=normalisation,
        apply_b_dec_to_input=apply_b_dec_to_input,
        site=site,
    )


def activations(*batch: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    """Random activations [*batch, D_IN], away from mean zero."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*batch, D_IN, generator=generator, dtype=torch.float64) + 0.3).to(dtype)
