"""Patch values: what a single node is set to. Its value in the patch prompt, zero, or a mean over reference prompts.

    E(u) = m(do(u = patch value of u)) − m(clean)

A `PatchValue` is called with the clean runs of a batch and returns the `Changes` of all nodes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from attribution.prompts.metrics import OnLogits
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.splice.recording import FeatureChange, Recording, SparseFeatures, refuse_other_mode
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from graphs.short_repr import short_repr


@dataclass(frozen=True)
class Changes:
    """Clean and patch values of all nodes of a batch whose two values differ.

    Attributes:
        features: old and new activations, by site.
        errors: patch errors by site; empty in `zero` mode.
        entry: the patch run's residual stream into block 0; None if tokens are not patched.
        metric: the metric with every node at its patch value.
        patch: the patch run, if there is one.
    """

    __repr__ = short_repr

    features: Mapping[str, FeatureChange]
    errors: Mapping[str, Float[Tensor, "row pos width"]]
    entry: Float[Tensor, "row pos d_model"] | None
    metric: Float[Tensor, " row"]
    patch: Recording | None = None


@runtime_checkable
class PatchValue(Protocol):
    """Gives every node of a batch of clean runs its patch value. `name` identifies it in results."""

    @property
    def name(self) -> str: ...

    def __call__(
        self,
        spliced: SplicedModel,
        batch: PairBatch,
        clean: Recording,
        metric: OnLogits,
        error_mode: ErrorMode,
    ) -> Changes: ...


@dataclass(frozen=True)
class _Counterfactual:
    name: str = "counterfactual"

    def digest(self) -> str:
        """Constant: the patch prompt is part of each pair's own digest."""
        return self.name

    def __call__(
        self,
        spliced: SplicedModel,
        batch: PairBatch,
        clean: Recording,
        metric: OnLogits,
        error_mode: ErrorMode,
    ) -> Changes:
        mode: ErrorMode = "zero" if error_mode == "zero" else "live"
        settle = error_mode in ("frozen", "zero")
        about = {"read": batch.read, "projected": clean.projected, "settle": settle}
        patch = spliced.record(batch.patch_ids, batch.last, mode, **about)
        reached = batch.reached
        errors = {
            s: torch.where(reached[..., None], new, old)
            for s, r in patch.sites.items()
            if (new := r.error) is not None and (old := clean.sites[s].error) is not None
        }
        return Changes(
            features={
                s: FeatureChange.between(clean.sites[s].features, patch.sites[s].features, reached)
                for s in spliced.sites
            },
            errors=errors,
            entry=torch.where(reached[..., None], patch.entry, clean.entry),
            metric=metric(patch.logits, batch),
            patch=patch,
        )


counterfactual: PatchValue = _Counterfactual()
"""Every node takes its value in the pair's patch prompt; tokens are nodes too."""


def refuse_nothing_to_patch(pairs: PromptPairs, patch_value: PatchValue) -> None:
    """Refuse pairs of which none has a counterfactual, if values are to come from there.

    Raises:
        ValueError: clean and patch prompt of every pair are the same.
    """
    if patch_value is counterfactual and not any(pair.has_counterfactual for pair in pairs):
        raise ValueError(
            "Clean and patch prompt are the same in every pair: no node differs between clean and patch run, so there "
            "is nothing to patch. Give other patch prompts, or patch value zero or a mean."
        )


def refuse_without_patch_prompt(method: str, patch_value: PatchValue) -> None:
    """Refuse a patch value without a patch prompt.

    Raises:
        ValueError: `method` walks to the patch prompt, and this patch value has none.
    """
    if patch_value is not counterfactual:
        raise ValueError(
            f"{method} needs a patch prompt to walk to; patch value {patch_value.name!r} has none. Use "
            "`counterfactual`, or integrated_gradients (site path)."
        )


@dataclass(frozen=True)
class _Constant:
    """The same values at every spliced position; zero at sites that are not listed."""

    __repr__ = short_repr

    name: str
    features: Mapping[str, Float[Tensor, " d_sae"]]
    errors: Mapping[str, Float[Tensor, " width"]]

    def digest(self) -> str:
        """sha256 over every site's values."""
        sha = hashlib.sha256()
        for kind, values in (("features", self.features), ("errors", self.errors)):
            for site, value in sorted(values.items()):
                sha.update(f"{kind} {site} {value.dtype} {tuple(value.shape)}".encode())
                sha.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return sha.hexdigest()

    def __call__(
        self,
        spliced: SplicedModel,
        batch: PairBatch,
        clean: Recording,
        metric: OnLogits,
        error_mode: ErrorMode,
    ) -> Changes:
        changes: dict[str, FeatureChange] = {}
        errors: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}
        here = clean.spliced[..., None]
        for site, record in clean.sites.items():
            sae = spliced.saes[site]
            width = clean.spliced.shape
            mean = self.features.get(site, sae.b_dec.new_zeros(sae.d_sae)).to(sae.b_dec)
            new = torch.where(here, mean.expand(*width, sae.d_sae), 0)
            changes[site] = FeatureChange.between(record.features, SparseFeatures.of(new))
            written = sae.decode(new, record.frame)
            if record.error is not None:
                mean_error = self.errors.get(site, sae.b_dec.new_zeros(sae.d_in)).to(sae.b_dec)
                errors[site] = torch.where(here, mean_error.expand(*width, sae.d_in), 0)
                written = written + errors[site]
            output = record.output.detach()
            outputs[site] = torch.where(here, written.to(output.dtype), output)
        with torch.no_grad():
            logits = spliced.logits_with_outputs(clean.ids, clean.read, outputs)
        return Changes(changes, errors, None, metric(logits, batch))


zero: PatchValue = _Constant("zero", {}, {})
"""Every feature and error at every spliced position is set to 0."""


def mean_over(
    spliced: SplicedModel,
    prompts: Sequence[Sequence[int]],
    *,
    batch_size: int = 32,
    error_mode: ErrorMode = "live",
) -> PatchValue:
    """A patch value: the mean of each feature and error over all spliced positions of reference prompts.

    Args:
        prompts: token ids of each reference prompt.
        error_mode: `zero` runs the reference prompts, too, on reconstructions alone.

    Raises:
        ValueError: no prompts, or none with a spliced position.
    """
    refuse_other_mode(error_mode)
    if not prompts:
        raise ValueError("A mean over no prompts is undefined: give reference prompts.")
    features = {s: torch.zeros(sae.d_sae, dtype=torch.float64) for s, sae in spliced.saes.items()}
    errors = {s: torch.zeros(sae.d_in, dtype=torch.float64) for s, sae in spliced.saes.items()}
    count = 0
    for start in range(0, len(prompts), batch_size):
        chosen = prompts[start : start + batch_size]
        width = max(map(len, chosen))
        ids = torch.tensor([[*p, *[0] * (width - len(p))] for p in chosen], device=spliced.model.device)
        last = torch.tensor([len(p) - 1 for p in chosen], device=spliced.model.device)
        run = spliced.record(ids, last, "zero" if error_mode == "zero" else "live")
        count += int(run.spliced.sum())
        for site, record in run.sites.items():
            features[site] += record.features.dense().sum((0, 1)).double().cpu()
            if record.error is not None:
                errors[site] += record.error.sum((0, 1)).double().cpu()
    if count == 0:
        raise ValueError("A mean over no positions is undefined: the reference prompts hold only BOS.")
    like = {s: sae.b_dec for s, sae in spliced.saes.items()}
    return _Constant(
        "mean",
        {s: (v / count).to(like[s]) for s, v in features.items()},
        {s: (v / count).to(like[s]) for s, v in errors.items()},
    )
