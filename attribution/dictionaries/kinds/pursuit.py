"""A decoder whose features are searched for, not encoded: gradient pursuit (ITO) or matching pursuit as an encoder.

    t = x_n − b_dec;   f = code of t over the rows of W_dec       `pursuits/gradient_pursuit.py`, `matching_pursuit.py`

Any SAE's decoder will do: `Pursuit.of(sae, k=20)`. There is no gate and no margin, because what a feature does hangs on
everything chosen before it; and no gradient, so that exact methods only can patch such features, and all others refuse.
A patched run in which a choice was a close one is repeated in float64 (`splice/gate_watch.py`), which decides it.
Source: Smith 2024; Blumensath & Davies 2008; Mallat & Zhang 1993.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries.kinds.normalisation import Frame
from attribution.dictionaries.kinds.sae import SAE, Encoding
from attribution.dictionaries.pursuits.gradient_pursuit import gradient_pursuit
from attribution.dictionaries.pursuits.greedy import Code, refuse_endless, unit_directions
from attribution.dictionaries.pursuits.matching_pursuit import matching_pursuit
from graphs.short_repr import in_brief

Rule = Literal["gradient", "matching"]
_RULES: Final[dict[Rule, Callable[..., Code]]] = {"gradient": gradient_pursuit, "matching": matching_pursuit}


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Pursuit(SAE):
    """f by search, for at most `k` features or until |t − f W_dec| <= tolerance · |t|; made by `Pursuit.of`.

    W_enc holds the decoder's rows with length 1, so that the projection p is what the first feature is chosen by.
    """

    kind: ClassVar[str] = "pursuit"
    encoder_tensors: ClassVar = {}
    has_gradient: ClassVar[bool] = False

    k: int | None = None
    tolerance: float | None = None
    rule: Rule = "gradient"

    @classmethod
    def of(
        cls, sae: SAE, *, k: int | None = None, tolerance: float | None = None, rule: Rule = "gradient"
    ) -> "Pursuit":
        """A pursuit over the decoder of an SAE, at the same site and in the same normalisation.

        Raises:
            ValueError: neither k nor a tolerance, one out of range, or another rule.
        """
        return cls(
            W_enc=unit_directions(sae.W_dec).T.contiguous(),
            W_dec=sae.W_dec,
            b_dec=sae.b_dec,
            site=sae.site,
            source=sae.source,
            prepend_bos=sae.prepend_bos,
            trained_on=sae.trained_on,
            positions=sae.positions,
            apply_b_dec_to_input=True,
            normalisation=sae.normalisation,
            k=k,
            tolerance=tolerance,
            rule=rule,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_endless(self.k, self.tolerance)
        if self.rule not in get_args(Rule):
            raise ValueError(f"No rule {in_brief(self.rule)} of a pursuit. Choose one of: {', '.join(get_args(Rule))}.")
        if not self.apply_b_dec_to_input or not torch.allclose(self.W_enc, unit_directions(self.W_dec).T, atol=1e-2):
            raise ValueError("A pursuit has no encoder of its own. Make it from an SAE: Pursuit.of(sae, k=...).")

    def value_and_margin(self, projection: Float[Tensor, "*batch d_sae"]) -> tuple[Float[Tensor, "*batch d_sae"], None]:
        """Refused: a code is not a function of one projection that has slopes and margins."""
        raise ValueError(no_gradient(self, "This"))

    def _encoded(
        self, normalised: Float[Tensor, "*batch d_in"], frame: Frame | None, *, projection_only: bool
    ) -> Encoding:
        if torch.is_grad_enabled() and normalised.requires_grad:
            raise ValueError(no_gradient(self, "This"))
        code = _RULES[self.rule](normalised - self.b_dec, self.W_dec, k=self.k, tolerance=self.tolerance)
        return Encoding(self.project(normalised), code.coefficients, None, frame, code.slack)


def no_gradient(sae: SAE, what: str) -> str:
    """Why something cannot be done with an SAE whose features are searched for, and what can."""
    return (
        f"{what} needs a gradient through the encoder, and the pursuit at {sae.site!r} has none, because it searches "
        "for its features: use exact_patching, exact_edges or an ablation."
    )


def refuse_pursuits(saes: Mapping[str, SAE], what: str) -> None:
    """Refuse what needs a gradient through every encoder.

    Raises:
        ValueError: an SAE searches for its features; the message names its site and the methods that are exact.
    """
    for sae in saes.values():
        if not sae.has_gradient:
            raise ValueError(no_gradient(sae, what))
