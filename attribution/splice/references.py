"""References: what all nodes outside a circuit are set to, position by position.

    counterfactual   the node's value in the pair's patch run
    zero             0, for features and errors

`prompt_references.py` has two more, which match positions by name: the mean over prompts, and another prompt's values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from attribution.dictionaries import SAE
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.splice.edits import ReferenceValues
from attribution.splice.masking import decoder_offset, decoder_weights
from attribution.splice.recording import SiteRecord, SparseFeatures
from attribution.splice.spliced_model import SplicedModel


@dataclass(frozen=True)
class SiteReference:
    """Reference values of one site for a batch.

    Attributes:
        features: what each feature writes along its decoder direction: scale · f, with the reference's own frame.
        error: x − D(f).
        offset: scale · b_dec + mean of the reference's own frame; None if the SAE does not normalise, or if the
            reference has no frame: then the edited run's offset stays.
    """

    features: SparseFeatures
    error: Float[Tensor, "row pos width"]
    offset: Float[Tensor, "row pos width"] | None

    def values(self) -> ReferenceValues:
        """The same values, dense, as an edit takes them."""
        return ReferenceValues(self.features.dense(), self.error, self.offset)


@runtime_checkable
class PreparedReference(Protocol):
    """Reference values of the pairs it was prepared for: called with a batch and the number of a draw, by site."""

    @property
    def draws(self) -> int: ...

    def __call__(self, batch: PairBatch, draw: int) -> Mapping[str, SiteReference]: ...

    def digest(self, examples: range) -> str:
        """A text that differs whenever the values for these pairs differ, with model and pairs the same."""
        ...


@runtime_checkable
class Reference(Protocol):
    """A named reference. `prepared` raises a ValueError for pairs that it has no value for."""

    @property
    def name(self) -> str: ...

    def prepared(self, spliced: SplicedModel, pairs: PromptPairs) -> PreparedReference: ...


@dataclass(frozen=True)
class _PatchRun:
    spliced: SplicedModel
    draws: int = 1

    def __call__(self, batch: PairBatch, draw: int) -> Mapping[str, SiteReference]:
        return values_in_run(self.spliced, batch.patch_ids, batch.last)

    def digest(self, examples: range) -> str:
        """Constant: the patch prompt is part of each pair's own digest."""
        return "patch run"


@dataclass(frozen=True)
class _Counterfactual:
    name: str = "counterfactual"

    def prepared(self, spliced: SplicedModel, pairs: PromptPairs) -> PreparedReference:
        return _PatchRun(spliced)


@dataclass(frozen=True)
class _Zeros:
    spliced: SplicedModel
    draws: int = 1

    def __call__(self, batch: PairBatch, draw: int) -> Mapping[str, SiteReference]:
        found: dict[str, SiteReference] = {}
        for site, sae in self.spliced.saes.items():
            features, error = (sae.W_dec.new_zeros(*batch.clean_ids.shape, width) for width in (sae.d_sae, sae.d_in))
            found[site] = SiteReference(SparseFeatures.of(features), error, None)
        return found

    def digest(self, examples: range) -> str:
        """Constant: zeros depend on nothing."""
        return "zeros"


@dataclass(frozen=True)
class _Zero:
    name: str = "zero"

    def prepared(self, spliced: SplicedModel, pairs: PromptPairs) -> PreparedReference:
        return _Zeros(spliced)


counterfactual: Reference = _Counterfactual()
"""Every node takes its value in the pair's patch run."""

zero: Reference = _Zero()
"""Features and errors are 0; an SAE that normalises still writes its offset, in the frame of this run."""


def values_in_run(
    spliced: SplicedModel, ids: Int[Tensor, "row pos"], last: Int[Tensor, " row"]
) -> Mapping[str, SiteReference]:
    """Every node's value in the bare model's run of some prompts."""
    run = spliced.record(ids, last)
    return {site: reference_in_record(record, spliced.saes[site]) for site, record in run.sites.items()}


def reference_in_record(record: SiteRecord, sae: SAE) -> SiteReference:
    """Every node's value at one site of a recorded run, with that run's own frame."""
    assert record.error is not None
    if record.frame is None:
        return SiteReference(record.features, record.error, None)
    written = SparseFeatures.of(decoder_weights(record.features.dense(), record.frame))
    return SiteReference(written, record.error, decoder_offset(sae, record.frame))
