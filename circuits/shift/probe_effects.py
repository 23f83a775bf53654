"""The effect of each feature on a probe: how far ablating it changes the probe's logit by unequal amounts across texts.

    e_t(u)     = Σ over positions of  logit(do(f_u at that position = 0)) − logit      on text t
    effect(u)  = mean over t of |e_t(u) − ē(u)|

The mean ē is left out because it moves all texts alike: it separates no two of them, and SHIFT undoes it by moving the
bias. All features are screened by attribution patching (first order, one backward pass), and the best are patched
exactly, with one run for each. No labels are needed. Source: Marks et al. 2024 (effects on a classifier, zero
ablation); exact effects and centring are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import zero
from attribution.splice.spliced_model import SplicedModel
from circuits.shift.linear_probe import LinearProbe
from circuits.shift.probed_model import ending_in_probe, probe_logit
from circuits.shift.site_activations import Feature, TokenIds


@dataclass(frozen=True)
class ProbeEffect:
    """A feature's effect on a probe and its signed mean ē, in nats per text. If ē > 0, ablating it favours class 1."""

    feature: Feature
    effect: float
    mean: float


def probe_effects(
    spliced: SplicedModel,
    site: str,
    probe: LinearProbe,
    prompts: Sequence[TokenIds],
    *,
    exact: int | None = 200,
    batch_size: int = 16,
    progress: Progress = silent,
) -> tuple[ProbeEffect, ...]:
    """The effects of features at the probe's site and upstream of it, the largest first.

    Args:
        spliced: the model with its SAEs.
        site: the site that the probe reads, at each prompt's last position.
        probe: the probe.
        prompts: token ids of each prompt. No labels are used.
        exact: number of features, the best by attribution patching, that are patched exactly and returned; None for
            all.
        batch_size: prompts in a batch.
        progress: is called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: `exact` is less than 1, or no SAE is spliced in at or before the site.
    """
    if exact is not None and exact < 1:
        raise ValueError(f"exact must be at least 1, or None for all features; got {exact}.")
    ending = ending_in_probe(spliced, site, probe)
    pairs = PromptPairs(tuple(PromptPair(tuple(p), tuple(p), 1, 0) for p in prompts))
    only, done = None, 0.0
    if exact is not None:
        done = 0.1
        screen = attribution_patching(
            ending, pairs, probe_logit, patch_value=zero, batch_size=batch_size, progress=lambda s: progress(done * s)
        )
        only = _keys_of_best(screen, exact)
    effects = exact_patching(
        ending,
        pairs,
        probe_logit,
        patch_value=zero,
        batch_size=batch_size,
        only=only,
        progress=lambda s: progress(done + (1 - done) * s),
    )
    return ranked_effects(effects)


def ranked_effects(effects: Effects) -> tuple[ProbeEffect, ...]:
    """Each feature's effect, from its effects on single texts and positions, the largest first.

    Errors and tokens are left out.
    """
    features, place, _ = _features(effects)
    chosen = effects.of_kind("feature")
    texts = len(effects.clean_metric)
    totals = np.zeros((len(features), texts))
    np.add.at(totals, (place, effects.example[chosen]), effects.effect[chosen])
    mean = totals.mean(1)
    size = np.abs(totals - mean[:, None]).mean(1)
    found = [ProbeEffect(f, float(e), float(m)) for f, e, m in zip(features, size, mean, strict=True)]
    return tuple(sorted(found, key=lambda found: -found.effect))


def _features(effects: Effects) -> tuple[list[Feature], np.ndarray, np.ndarray]:
    """The distinct features; for every entry of a feature, which of them it is; and the numbers of these entries."""
    (entries,) = np.nonzero(effects.of_kind("feature"))
    columns = np.stack([effects.site[entries].astype(np.int64), effects.index[entries].astype(np.int64)])
    unique, place = np.unique(columns, axis=1, return_inverse=True)
    return [Feature(effects.sites[s], i) for s, i in unique.T.tolist()], place.reshape(-1), entries


def _keys_of_best(effects: Effects, count: int) -> np.ndarray:
    features, place, entries = _features(effects)
    best = {found.feature for found in ranked_effects(effects)[:count]}
    keep = np.array([feature in best for feature in features], dtype=bool)
    return effects.keys()[entries[keep[place]]]
