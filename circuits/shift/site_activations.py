"""Activations of texts at a site, with some features ablated everywhere upstream.

    y_s = x_s + D_s(f') − D_s(f)     at every spliced site s and position; f' is f with the ablated features set

Errors are live: what an SAE leaves out stays, so that without ablation the activations are bit-identical to the bare
model's. Ablated features are set to 0, or to their mean over reference texts. Activations are read at the last position
of each text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.models.hooks import SiteFunction, hooked, logits_with
from attribution.models.language_model import LanguageModel
from attribution.splice.recording import Recording
from attribution.splice.spliced_model import SplicedModel

TokenIds = Sequence[int]
"""Token ids, BOS included."""


@dataclass(frozen=True, order=True)
class Feature:
    """Feature `index` of the SAE at `site`, at all positions."""

    site: str
    index: int

    def __str__(self) -> str:
        return f"{self.site}/{self.index}"


FeatureValues = Mapping[Feature, float]
"""The value that each ablated feature is set to."""


def token_prompts(model: LanguageModel, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Token ids of texts, opened as prompts are.

    Raises:
        ValueError: a word that the tokenizer does not know.
    """
    prompts = tuple(tuple(model.token_ids(text)) for text in texts)
    for text, prompt in zip(texts, prompts, strict=True):
        if model.unknown_id is not None and model.unknown_id in prompt:
            raise ValueError(
                f"The text {text!r} has a word that the tokenizer does not know. Use words of its vocabulary."
            )
    return prompts


def site_activations(
    spliced: SplicedModel,
    prompts: Sequence[TokenIds],
    site: str,
    ablation: FeatureValues | None = None,
    *,
    rows: int = 256,
) -> Float[Tensor, "text width"]:
    """The activation of a site at each prompt's last position, with features ablated. `rows` prompts run at once."""
    site = spliced.model.resolve(site)
    by_site = _by_site(spliced, ablation or {})
    found: list[Tensor] = []
    for ids, last in _batches(prompts, rows, spliced.model):
        here = spliced.spliced_positions(ids, last)
        functions = {s: _ablater(spliced, s, chosen, here) for s, chosen in by_site.items()}

        with torch.no_grad(), spliced.model.frozen(), hooked(spliced.model, functions):
            found.append(_last_activation(spliced.model, ids, last, site))
    return torch.cat(found)


def _last_activation(
    model: LanguageModel, ids: Int[Tensor, "row pos"], last: Int[Tensor, " row"], site: str
) -> Float[Tensor, "row width"]:
    """The activation of a site after the functions that are already in place there."""
    found: list[Tensor] = []

    def read(x: Tensor) -> Tensor:
        found.append(x[torch.arange(len(last), device=x.device), last])
        return x

    logits_with(model, ids, {site: read})
    return found[0]


def recordings_of(spliced: SplicedModel, prompts: Sequence[TokenIds], *, rows: int = 256) -> Iterator[Recording]:
    """Recordings of prompts without ablation, `rows` prompts in each."""
    for ids, last in _batches(prompts, rows, spliced.model):
        yield spliced.record(ids, last)


def feature_activations(
    spliced: SplicedModel, prompts: Sequence[TokenIds], features: Sequence[Feature], *, rows: int = 256
) -> Float[Tensor, "text feature"]:
    """Each feature's mean activation over the spliced positions of each prompt."""
    if not features:
        raise ValueError("No features given, so there are no activations to read. Give at least one.")
    _by_site(spliced, zero_ablation(features))
    found: list[Tensor] = []
    for run in recordings_of(spliced, prompts, rows=rows):
        positions = run.spliced.sum(1).clamp(min=1)[:, None]
        sites = {spliced.site(f.site) for f in features}
        means = {s: run.sites[s].features.dense().sum(1) / positions for s in sites}
        found.append(torch.stack([means[spliced.site(f.site)][:, f.index] for f in features], dim=1))
    return torch.cat(found)


def active_features(spliced: SplicedModel, prompts: Sequence[TokenIds]) -> tuple[Feature, ...]:
    """Every feature that is active anywhere in the prompts, in the order of the forward pass."""
    found: dict[str, set[int]] = {site: set() for site in spliced.sites}
    for run in recordings_of(spliced, prompts):
        for site, record in run.sites.items():
            found[site] |= set(record.features.index.unique().tolist())
    return tuple(Feature(site, index) for site, indices in found.items() for index in sorted(indices))


def mean_ablation(spliced: SplicedModel, prompts: Sequence[TokenIds], features: Sequence[Feature]) -> FeatureValues:
    """Each feature set to its mean activation: over the spliced positions of each prompt, then over prompts."""
    means = feature_activations(spliced, prompts, features).mean(0)
    return dict(zip(features, means.tolist(), strict=True))


def zero_ablation(features: Sequence[Feature]) -> FeatureValues:
    """Each feature set to 0."""
    return dict.fromkeys(features, 0.0)


def _by_site(spliced: SplicedModel, ablation: FeatureValues) -> dict[str, tuple[Int[Tensor, " feature"], Tensor]]:
    """Indices and values by site. Raises an error for a site without an SAE, or a feature that the SAE lacks."""
    grouped: dict[str, dict[int, float]] = {}
    for feature, value in ablation.items():
        site = spliced.site(feature.site)
        d_sae = spliced.saes[site].d_sae
        if not 0 <= feature.index < d_sae:
            raise ValueError(f"Cannot ablate {feature}: the SAE there has features 0 to {d_sae - 1}.")
        grouped.setdefault(site, {})[feature.index] = value
    like = {site: spliced.saes[site].b_dec for site in grouped}
    return {
        site: (torch.tensor(list(values), device=like[site].device), like[site].new_tensor(list(values.values())))
        for site, values in grouped.items()
    }


def _ablater(
    spliced: SplicedModel,
    site: str,
    chosen: tuple[Int[Tensor, " feature"], Float[Tensor, " feature"]],
    here: Bool[Tensor, "row pos"],
) -> SiteFunction:
    sae, (index, value) = spliced.saes[site], chosen

    def function(x: Tensor) -> Tensor:
        encoding = sae.encode(x)
        change = torch.where(here[..., None], value - encoding.features[..., index], 0)
        added = change @ sae.W_dec[index]
        if encoding.frame is not None:
            added = encoding.frame.scale * added
        return (x.to(added.dtype) + added).to(x.dtype)

    return function


def _batches(
    prompts: Sequence[TokenIds], rows: int, model: LanguageModel
) -> Iterator[tuple[Int[Tensor, "row pos"], Int[Tensor, " row"]]]:
    """Prompts padded on the right, and the last position of each."""
    if not prompts or not all(prompts):
        raise ValueError("No prompts, or an empty one. Give prompts with a last position to read an activation at.")
    device = model.device
    for part in model.lengths.cut(list(map(len, prompts)), rows):
        chosen = [prompts[n] for n in part]
        width = max(map(len, chosen))
        ids = torch.tensor([[*p, *[0] * (width - len(p))] for p in chosen], device=device)
        yield ids, torch.tensor([len(p) - 1 for p in chosen], device=device)
