"""Which features carry a spurious label: by a rule, or by hand from the words they fire on.

    separation(u) = 2 · AUROC − 1      of u's mean activation over a text's positions, between the spurious labels

It is 1 if the feature is always more active in texts with the spurious label, −1 if it is always less active, and 0 if
it says nothing about the label. The rule takes the features with the largest effects on the probe and keeps those that
separate. It uses texts that are labelled for the spurious attribute alone; it never sees the intended label, or texts
in which the two labels differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.splice.spliced_model import SplicedModel
from circuits.shift.probe_effects import ProbeEffect
from circuits.shift.site_activations import Feature, TokenIds, feature_activations, recordings_of


@dataclass(frozen=True)
class SpuriousFeature:
    """A feature, its effect on the probe in nats per text, and its separation of the spurious labels."""

    feature: Feature
    effect: float
    separation: float


def spurious_features(
    spliced: SplicedModel,
    effects: Sequence[ProbeEffect],
    prompts: Sequence[TokenIds],
    spurious: Bool[Tensor, " text"],
    *,
    among: int = 50,
    separation: float = 0.5,
) -> tuple[SpuriousFeature, ...]:
    """Of the `among` features with the largest effects, those with |separation| >= `separation`.

    Raises:
        ValueError: not one label for each text, texts of one spurious label only, no effects, or no feature with such a
            separation.
    """
    if len(prompts) != len(spurious):
        raise ValueError(f"{len(prompts)} texts but {len(spurious)} spurious labels: give one label for each.")
    if spurious.all() or not spurious.any():
        raise ValueError("The texts have one spurious label only, so nothing can be separated. Give texts with both.")
    if not effects or among < 1:
        raise ValueError("No features to choose from. Give effects, and let `among` be at least 1.")
    largest = effects[:among]
    activations = feature_activations(spliced, prompts, [e.feature for e in largest])
    separations = separation_of(activations, spurious).tolist()
    found = tuple(
        SpuriousFeature(e.feature, e.effect, s)
        for e, s in zip(largest, separations, strict=True)
        if abs(s) >= separation
    )
    if not found:
        raise ValueError(
            f"No feature among the {len(largest)} with the largest effects separates the spurious labels by "
            f"{separation} or more (the best by {max(map(abs, separations)):.2f}). Lower `separation` or raise `among`."
        )
    return found


def separation_of(
    activations: Float[Tensor, "text feature"], labels: Bool[Tensor, " text"]
) -> Float[Tensor, " feature"]:
    """2 · AUROC − 1 of each column; ties count half."""
    ones, zeros = activations[labels], activations[~labels]
    return torch.stack([(one - zeros).sign().mean(0) for one in ones]).mean(0)


def firing_words(
    spliced: SplicedModel, prompts: Sequence[TokenIds], features: Sequence[Feature], *, count: int = 3
) -> dict[Feature, tuple[str, ...]]:
    """The words on which each feature is most active, summed over all prompts. The two words before come with it."""
    totals: dict[Feature, dict[tuple[int, ...], float]] = {f: {} for f in features}
    for run in recordings_of(spliced, prompts):
        for feature, total in totals.items():
            active = run.sites[spliced.site(feature.site)].features
            here = active.index == feature.index
            columns = (active.row[here], active.pos[here], active.value[here])
            for row, pos, value in zip(*(c.tolist() for c in columns), strict=True):
                words = tuple(run.ids[row, max(pos - 2, 0) : pos + 1].tolist())
                total[words] = total.get(words, 0.0) + value
    text = spliced.model.token_text
    return {
        feature: tuple(
            " ".join(text(i).strip() for i in words) for words in sorted(total, key=lambda w: -total[w])[:count]
        )
        for feature, total in totals.items()
    }
