"""The base of all SAEs: features from an activation, and an activation from features.

    p      = (x_n - b_dec) @ W_enc        x_n: normalised activation; b_dec only where the SAE subtracts it
    v, mu  = value and margin of p        the one thing the encoder kinds differ in
    f      = v where mu > 0, else 0       v is continuous in x; only the gate jumps
    x_hat  = scale * (f @ W_dec + b_dec) + mean

Exact; one matrix product each way. SAEs are stateless: nothing is remembered between encode and decode, because the
frame of the normalisation travels with the encoding.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import ClassVar, TypeVar, final, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from attribution.dictionaries.kinds.normalisation import Frame, Normalisation, normalise, restore
from attribution.dictionaries.kinds.tensor_faults import shape_fault
from attribution.dictionaries.kinds.trained_on import NOT_SAID, TrainedOn
from attribution.dictionaries.kinds.trained_positions import ALL_POSITIONS, TrainedPositions
from graphs.short_repr import in_brief, short_repr

AnySAE = TypeVar("AnySAE", bound="SAE")


@dataclass(frozen=True, eq=False)
class Encoding:
    """Features as value and margin, and the projection p from which both were computed.

    Margin None: gates are always open. Frame None: nothing was normalised. Slack: of features that are searched for,
    how near the search came to another choice (`pursuits/greedy.py`); None for all others.
    """

    __repr__ = short_repr

    projection: Float[Tensor, "*batch d_sae"]
    value: Float[Tensor, "*batch d_sae"]
    margin: Float[Tensor, "*batch d_sae"] | None
    frame: Frame | None
    slack: Float[Tensor, "*batch"] | None = None

    @property
    def features(self) -> Float[Tensor, "*batch d_sae"]:
        """f = v where the margin is positive, else 0. Gradients flow through the value, not through the gate."""
        if self.margin is None:
            return self.value
        return torch.where(self.margin > 0, self.value, 0)

    def active(self) -> tuple[Int[Tensor, " open"], Int[Tensor, " open"], Float[Tensor, " open"]]:
        """Place in the flattened batch, index and value of the features with open gates, sorted by place and index."""
        gate, d_sae = self.value != 0 if self.margin is None else self.margin > 0, self.value.shape[-1]
        key = places_of(gate.flatten())
        place = key.div(d_sae, rounding_mode="floor")
        return place, key - place * d_sae, self.value.flatten().index_select(0, key)


def places_of(mask: Bool[Tensor, " entry"]) -> Int[Tensor, " true"]:
    """The indices at which a mask is true, in increasing order."""
    if mask.device.type == "cpu":  # numpy's search of a mask is several times faster than torch's
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return torch.nonzero(mask)[:, 0]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SAE(ABC):
    """Base of the encoder kinds: a kind names its encoder tensors and says what value and margin are.

    site: the hook the SAE belongs to, "" if unknown. A `hook_z` SAE has d_in = n_heads * d_head and takes the
        heads flattened.
    source: the file it was read from, "" if none; named in errors.
    prepend_bos: whether the prompts it was trained on opened with BOS; None if its file does not say.
    trained_on: the model and the hook that its file names; warnings compare them with where it is spliced.
    positions: the positions it was trained on; the splice leaves others as they are.
    margin_tensors: the encoder tensors that the margin adds to p or subtracts from it; they bound the margin's rounding
        (`splice/gate_rounding.py`).
    threshold_moves: the threshold depends on the other features' projections, as TopK's does.
    has_gradient: features have slopes; False where they are searched for (`pursuit.py`).
    """

    kind: ClassVar[str]
    encoder_tensors: ClassVar[Mapping[str, tuple[str, ...]]]
    margin_tensors: ClassVar[tuple[str, ...]] = ()
    threshold_moves: ClassVar[bool] = False
    has_gradient: ClassVar[bool] = True

    W_enc: Float[Tensor, "d_in d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]
    site: str = ""
    source: str = ""
    prepend_bos: bool | None = None
    trained_on: TrainedOn = NOT_SAID
    positions: TrainedPositions = ALL_POSITIONS
    apply_b_dec_to_input: bool = False
    normalisation: Normalisation = "none"

    @abstractmethod
    def value_and_margin(
        self, projection: Float[Tensor, "*batch d_sae"]
    ) -> tuple[Float[Tensor, "*batch d_sae"], Float[Tensor, "*batch d_sae"] | None]:
        """v and mu from p, the activation's projection on encoder directions before any bias; mu None: no gate."""

    def __post_init__(self) -> None:
        if self.normalisation not in get_args(Normalisation):
            choices = ", ".join(get_args(Normalisation))
            raise ValueError(f"No normalisation {in_brief(self.normalisation)}. Choose one of: {choices}.")
        if self.W_dec.ndim != 2:
            raise ValueError(f"{type(self).__name__} SAE: W_dec has {self.W_dec.ndim} axes; expected (d_sae, d_in)")
        sizes = {"d_in": self.d_in, "d_sae": self.d_sae}
        for name, axes in self.tensor_axes().items():
            if fault := shape_fault(name, getattr(self, name), axes, sizes):
                raise ValueError(f"{type(self).__name__} SAE: {fault} (sizes as in W_dec)")

    def __repr__(self) -> str:
        at = f" at {self.site}" if self.site else ""
        dtype = str(self.W_dec.dtype).removeprefix("torch.")
        return f"{type(self).__name__}({self.d_sae:,} features of {self.d_in} dimensions{at}, {dtype})"

    @property
    def d_in(self) -> int:
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        return self.W_dec.shape[0]

    @final
    def encode(self, x: Float[Tensor, "*batch d_in"], *, projection_only: bool = False) -> Encoding:
        """Projection, value, margin and frame of x, in the dtype of the weights (x is cast to it).

        With `projection_only`, gradients reach p and the frame, but not value and margin, so that the graph holds
        nothing more of size d_sae. The gradient of an active feature is then `open_slope` times that of p.

        Raises:
            ValueError: the width of x is not d_in.
        """
        if x.shape[-1] != self.d_in:
            raise ValueError(
                f"The SAE at {self.site!r} reads activations of width {self.d_in}; this one has shape {tuple(x.shape)}."
            )
        normalised, frame = normalise(x.to(self.W_enc.dtype), self.normalisation)
        return self._encoded(normalised, frame, projection_only=projection_only)

    def _encoded(
        self, normalised: Float[Tensor, "*batch d_in"], frame: Frame | None, *, projection_only: bool
    ) -> Encoding:
        projection = self.project(normalised)
        of = projection.detach() if projection_only else projection
        return Encoding(projection, *self.value_and_margin(of), frame)

    @final
    def project(self, normalised: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """The projection p of an activation that is already normalised."""
        return (normalised - self.b_dec if self.apply_b_dec_to_input else normalised) @ self.W_enc

    def open_slope(self) -> Float[Tensor, " d_sae"]:
        """dv/dp where the value is positive: 1, unless a kind rescales its values."""
        return torch.ones_like(self.W_dec[:, 0])

    def threshold_shares(
        self, clean: Float[Tensor, "place d_sae"], patch: Float[Tensor, "place d_sae"]
    ) -> Float[Tensor, "place d_sae"] | None:
        """dt/dp_j of the gates' threshold t, averaged along the line from clean to patch p; None if t is constant."""
        del clean, patch
        return None

    @cached_property
    def margin_terms(self) -> tuple[Float[Tensor, " d_sae"], Float[Tensor, " d_sae"]]:
        """For each feature |w| and c: the terms of its margin add up to at most |x_n| · |w| + c in absolute value."""
        directions = self.W_enc.norm(dim=0)
        offset = self.b_dec.norm() * directions if self.apply_b_dec_to_input else torch.zeros_like(directions)
        return directions, sum((getattr(self, name).abs() for name in self.margin_tensors), offset)

    @cached_property
    def largest_margin_terms(self) -> tuple[float, float]:
        """The largest |w| and the largest c over all features."""
        directions, constants = self.margin_terms
        return float(directions.max()), float(constants.max())

    @final
    def decode(self, features: Float[Tensor, "*batch d_sae"], frame: Frame | None) -> Float[Tensor, "*batch d_in"]:
        """The reconstruction, affine in the features. `frame` is the one that `encode` returned."""
        return self._restored(features @ self.W_dec, frame)

    @final
    def decode_active(
        self,
        starts: Int[Tensor, " place"],
        index: Int[Tensor, " active"],
        value: Float[Tensor, " active"],
        frame: Frame | None,
    ) -> Float[Tensor, "place d_in"]:
        """As `decode`, from active features only. They are ordered by place; those of place n begin at `starts[n]`."""
        return self._restored(self.summed(starts, index, value), frame)

    @final
    def summed(
        self, starts: Int[Tensor, " place"], index: Int[Tensor, " active"], weight: Float[Tensor, " active"]
    ) -> Float[Tensor, "place d_in"]:
        """Σ weight · decoder direction at each place; ordered by place as in `decode_active`."""
        return embedding_bag(index, self.W_dec, starts, mode="sum", per_sample_weights=weight)

    def _restored(self, written: Float[Tensor, "*batch d_in"], frame: Frame | None) -> Float[Tensor, "*batch d_in"]:
        if frame is None and self.normalisation != "none":
            raise ValueError(
                f"The SAE at {self.site!r} normalises its input ({self.normalisation}): "
                "decode needs the frame that encode returned."
            )
        reconstruction = written + self.b_dec
        return reconstruction if frame is None else restore(reconstruction, frame)

    @final
    def written_along(
        self,
        starts: Int[Tensor, " place"],
        index: Int[Tensor, " active"],
        along: Float[Tensor, "place d_in"],
    ) -> Float[Tensor, " active"]:
        """Each feature's decoder direction · the vector `along` of its place; ordered by place as in `decode_active`.

        Computed as the derivative of a weighted sum of directions by its weights, so that no direction is copied.
        """
        with torch.enable_grad():
            weight = self.W_dec.new_ones(len(index)).requires_grad_()
            summed = embedding_bag(index, self.W_dec.detach(), starts, mode="sum", per_sample_weights=weight)
        return torch.autograd.grad(summed, weight, along)[0]

    @final
    def to(self: AnySAE, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> AnySAE:
        """The same SAE on another device or in another float dtype."""
        moved = {name: tensor.to(device=device, dtype=dtype) for name, tensor in self.tensors().items()}
        return replace(self, **moved)

    @classmethod
    def tensor_axes(cls) -> dict[str, tuple[str, ...]]:
        """Every tensor of this kind with the names of its axes. The tensors' names are the keys in files."""
        shared = {"W_enc": ("d_in", "d_sae"), "W_dec": ("d_sae", "d_in"), "b_dec": ("d_in",)}
        return shared | dict(cls.encoder_tensors)

    @final
    def tensors(self) -> dict[str, Tensor]:
        """The SAE's tensors by name, in the order of `tensor_axes`."""
        return {name: getattr(self, name) for name in self.tensor_axes()}

    @final
    def digest(self) -> str:
        """sha256 over kind, settings and tensors (name, dtype, shape, bytes).

        Without site, source and training: they change nothing that the SAE computes. All positions go without saying.
        """
        tensors = self.tensors()
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in tensors}
        for where in ("site", "source", "prepend_bos", "trained_on"):
            settings.pop(where)
        if self.positions == ALL_POSITIONS:
            settings.pop("positions")
        sha = hashlib.sha256(repr((self.kind, sorted(settings.items()))).encode())
        for name, tensor in sorted(tensors.items()):
            sha.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
            sha.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return sha.hexdigest()
