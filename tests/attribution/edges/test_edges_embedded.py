"""Chord edges on the embedded model, SAEs at all 12 sites: conserved at every node and over every cut."""

import numpy as np
import pytest

from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.edges.chord_edges import chord_edges
from attribution.edges.edges import METRIC_KEY
from attribution.prompts.metrics import logit_difference
from attribution.splice.node_keys import columns_of_keys
from attribution.splice.spliced_model import SplicedModel
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.tasks.prompts import task_pairs


def test_flow_is_conserved_at_every_node_and_over_every_cut() -> None:
    model = embedded_model()
    spliced = SplicedModel(model, embedded_saes())
    pairs = task_pairs("agreement", "train", 1, 3, model)
    chords = chord_attribution(spliced, pairs, logit_difference)
    edges = chord_edges(spliced, pairs, logit_difference, chords.effects)
    total = float(chords.effects.total_effect[0])
    near = 1e-3 * abs(total)
    assert len(edges.target_key) == chords.effects.of_kind("feature").sum() + 1
    assert np.abs(edges.imbalance).max() < near
    sites = chords.effects.sites
    source = columns_of_keys(edges.source)["site"]
    target = np.where(edges.target == METRIC_KEY, len(sites), columns_of_keys(edges.target.clip(min=0))["site"])
    kinds = columns_of_keys(edges.source)["kind"]
    ledger = chords.ledger
    for cut in range(len(sites)):
        crossing = edges.weight[(source <= cut) & (target > cut)].sum()
        errors_beyond = edges.weight[(source > cut) & (kinds == 1)].sum()
        jumps_beyond = ledger.undivided[ledger.site + 1 > cut].sum()
        assert crossing + errors_beyond + jumps_beyond == pytest.approx(total, abs=near)
