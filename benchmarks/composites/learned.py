"""What a dictionary that was trained on a world of atoms has learned, and what the splitting test makes of it."""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from attribution import SAE, gradient_pursuit, splitting
from benchmarks.composites.atom_worlds import AtomWorld

LIKE = 0.95
"""Cosine from which a feature is taken for an atom, or for a composite."""
ALIVE = 1e-3
"""Features that fire on fewer samples are dead."""
_SAMPLES = 10_000


@dataclass(frozen=True)
class Learned:
    """Numbers of one dictionary.

    Attributes:
        first, second: share of the first atoms of the couples (parents), and of the second (children), that a feature
            stands for.
        composites: share of the couples that a feature stands for as a whole.
        fvu, l0: of the encoder.
        found, right: of the features that are composites, the share that the splitting test finds; of those it finds,
            the share that are. None where there are none.
        fvu_without, l0_without: of ITO over the features that do not split, at the encoder's L0 and one feature more.
    """

    first: float
    second: float
    composites: float
    fvu: float
    l0: float
    found: float | None
    right: float | None
    fvu_without: float
    l0_without: float


def cosines(world: AtomWorld, sae: SAE) -> Float[Tensor, "feature direction"]:
    """Of every feature with the atoms, then with the composites."""
    return normalize(sae.W_dec, dim=1) @ torch.cat([world.atoms, world.composites]).T


def learned(world: AtomWorld, sae: SAE, seed: int = 1) -> Learned:
    """Judge a dictionary on new samples of its world."""
    x = world.draw(_SAMPLES, torch.Generator().manual_seed(seed))
    features = sae.encode(x).features
    alive = (features > 0).float().mean(0) > ALIVE
    like = (cosines(world, sae) > LIKE) & alive[:, None]
    atoms, couples = like.split([2 * world.couples, world.couples], dim=1)
    true, splits = couples.any(1), splitting(sae).composites() & alive
    l0 = float((features > 0).float().sum(1).mean())
    code = gradient_pursuit(x - sae.b_dec, sae.W_dec[alive & ~splits], k=round(l0) + 1).coefficients
    without = einsum(code, sae.W_dec[alive & ~splits], "sample feature, feature d_in -> sample d_in") + sae.b_dec
    return Learned(
        first=_share(atoms.any(0)[::2]),
        second=_share(atoms.any(0)[1::2]),
        composites=_share(couples.any(0)),
        fvu=_fvu(x, sae.decode(features, None)),
        l0=l0,
        found=_share(splits[true]) if true.any() else None,
        right=_share(true[splits]) if splits.any() else None,
        fvu_without=_fvu(x, without),
        l0_without=float((code > 0).float().sum(1).mean()),
    )


def _share(chosen: Bool[Tensor, " entry"]) -> float:
    return float(chosen.float().mean())


def _fvu(x: Float[Tensor, "sample d_in"], written: Float[Tensor, "sample d_in"]) -> float:
    return float((x - written).square().sum() / (x - x.mean(0)).square().sum())
