"""The residual basis as sparse autoencoders: every dimension is a feature with a name, and nothing is lost.

    f_d = relu(x_d),   f_{D+d} = relu(-x_d),   D(f)_d = f_d - f_{D+d} = x_d

ReLU: exact for every x. JumpReLU: the same features behind a threshold that lies between "off" and the smallest value
of a feature that is on: 0.5 for one-hot dimensions, half the smallest share for numbers. What tracr's approximations
leave below it (about 1e-6) becomes error. Patched values lie on one side of it or the other, so a gate opens or closes
with every one-hot value that changes.
"""

from typing import Any, Final

import torch
from torch import Tensor

from attribution import SAE, JumpReLU, ReLU, SplicedModel
from benchmarks.programs.compiled_model import Compiled

ONE_HOT_THRESHOLD: Final = 0.5


def exact_saes(compiled: Compiled, kind: type[ReLU] | type[JumpReLU]) -> dict[str, SAE]:
    """One SAE at the attention and one at the MLP output of every layer."""
    sites = [f"blocks.{n}.hook_{part}" for n in range(compiled.model.n_layers) for part in ("attn_out", "mlp_out")]
    size = compiled.model.d_model
    eye = torch.eye(size, dtype=torch.float64)
    tensors: dict[str, Any] = {
        "W_enc": torch.cat([eye, -eye], 1),
        "W_dec": torch.cat([eye, -eye]),
        "b_dec": torch.zeros(size, dtype=torch.float64),
        "b_enc": torch.zeros(2 * size, dtype=torch.float64),
    }
    if kind is JumpReLU:
        tensors["threshold"] = thresholds(compiled).repeat(2)
    return {site: kind(**tensors, site=site) for site in sites}


def thresholds(compiled: Compiled) -> Tensor:
    """The threshold of each dimension: numbers of these programs are multiples of 1/n or 1/(1 + n), n <= length."""
    smallest = 1 / (compiled.program.length * (compiled.program.length + 1))
    return torch.tensor(
        [ONE_HOT_THRESHOLD if ":" in name else smallest / 2 for name in compiled.residual], dtype=torch.float64
    )


def splice_exactly(compiled: Compiled, kind: type[ReLU] | type[JumpReLU]) -> SplicedModel:
    """The compiled model with its exact SAEs, in float64; BOS, whose content no variable is, stays unspliced."""
    return SplicedModel(compiled.model, exact_saes(compiled, kind), dtype=torch.float64)
