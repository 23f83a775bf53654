"""Reference values of a batch's nodes, from its clean run and the change of every node."""

import torch

from attribution.effects.measurement import Situation
from attribution.splice.edits import ReferenceValues
from attribution.splice.references import reference_in_record


def reference_of(situation: Situation, site: str) -> ReferenceValues:
    """Reference values of a site's features and errors: the clean value, except where the patch value differs."""
    change = situation.changes.features[site]
    features = situation.clean.sites[site].features.dense()
    features[change.row, change.pos, change.index] = change.new
    return ReferenceValues(features, situation.changes.errors.get(site, torch.zeros(())))


def kept_reference(situation: Situation, site: str) -> ReferenceValues:
    """As `reference_of`, but values of the patch run keep that run's normalisation, as in m(C)."""
    patch = situation.changes.patch
    if patch is None or patch.sites[site].error is None:
        return reference_of(situation, site)
    return reference_in_record(patch.sites[site], situation.spliced.saes[site]).values()
