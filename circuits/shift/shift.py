"""SHIFT: remove the features through which a probe reads a spurious label from the forward pass.

    1  a probe of a site is trained on texts in which the intended and the spurious label coincide
    2  features before and at the site are ranked by their effect on the probe's logit       probe_effects.py
    3  the spurious ones are chosen, by hand from the words they fire on or by a rule        spurious_features.py
    4  these are ablated at every position, with live errors, and the probe reads what is left

Ablating features also moves the logits of all texts by a common amount. So the bias is moved back until the mean logit
over the training texts is what it was; this needs no label. Source: Marks et al. 2024, section 4; moving the bias is
ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from jaxtyping import Bool, Float
from torch import Tensor

from attribution.splice.spliced_model import SplicedModel
from circuits.shift.labelled_prompts import LabelledPrompts
from circuits.shift.linear_probe import LinearProbe, fit_probe
from circuits.shift.site_activations import Feature, FeatureValues, TokenIds, site_activations, zero_ablation


@dataclass(frozen=True, eq=False)
class Shifted:
    """A probe that reads activations with some features ablated.

    Attributes:
        spliced, site, ablation: the probes read the site's activation with these features set to these values.
        original: the probe as it was trained, on activations without ablation.
        shifted: the original with its bias moved, so that its mean logit over the training texts is as before.
        retrained: trained on the ablated activations of the same texts.
    """

    spliced: SplicedModel
    site: str
    ablation: FeatureValues
    original: LinearProbe
    shifted: LinearProbe
    retrained: LinearProbe

    def activations(self, prompts: Iterable[TokenIds]) -> Float[Tensor, "text width"]:
        """The site's activation at each prompt's last position, with the features ablated."""
        return site_activations(self.spliced, tuple(prompts), self.site, self.ablation)

    def predict(self, prompts: Iterable[TokenIds]) -> Bool[Tensor, " text"]:
        """The predictions of the shifted probe."""
        return self.shifted.predict(self.activations(prompts))


def shift(
    spliced: SplicedModel,
    site: str,
    training: LabelledPrompts,
    chosen: Iterable[Feature] | FeatureValues,
    *,
    probe: LinearProbe | None = None,
    weight_decay: float = 0.01,
) -> Shifted:
    """Ablate the chosen features in the activations that a probe of the intended label reads.

    Args:
        spliced: the model with its SAEs.
        site: the site that the probe reads, at each text's last position.
        training: the texts that the probe is trained on. Only their intended labels are used.
        chosen: features that are set to 0, or features with the values that they are set to.
        probe: the original probe; by default it is trained here.
        weight_decay: of every probe that is trained here.

    Raises:
        ValueError: no features are chosen.
    """
    ablation = chosen if isinstance(chosen, Mapping) else zero_ablation(tuple(chosen))
    if not ablation:
        raise ValueError("No features are chosen, so SHIFT would change nothing. Choose at least one.")
    before = site_activations(spliced, training.prompts, site)
    original = probe or fit_probe(before, training.intended, weight_decay=weight_decay)
    after = site_activations(spliced, training.prompts, site, ablation)
    moved = original.logit(before).mean() - original.logit(after).mean()
    return Shifted(
        spliced=spliced,
        site=site,
        ablation=ablation,
        original=original,
        shifted=replace(original, bias=original.bias + moved),
        retrained=fit_probe(after, training.intended, weight_decay=weight_decay),
    )
