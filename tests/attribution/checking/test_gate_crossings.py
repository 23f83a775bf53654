"""Where the gates of a ledger cross on the real path."""

import numpy as np
import pytest
import torch

from attribution.checking.gate_crossings import with_crossings
from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.effects.measurement import prepare
from attribution.methods.input_path import InputPath
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.splice.patch_values import counterfactual
from graphs import JumpLedger
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World, saes_on


@pytest.fixture(scope="module")
def world(llama: LanguageModel) -> World:
    return World(llama, saes_on(llama, JUMPRELU_SITES))


@pytest.fixture(scope="module")
def ledger(world: World) -> JumpLedger:
    found = chord_attribution(world.spliced, PAIRS, logit_difference).ledger
    assert len(found) > 30
    return with_crossings(world.spliced, PAIRS, found.strongest(30), runs_at_once=7)


def margin(world: World, ledger: JumpLedger, entry: int, alpha: float) -> float:
    """The gate's margin with embeddings and errors at α, by one run."""
    batch = PAIRS.batch([int(ledger.example[entry])])
    path = InputPath.of(prepare(world.spliced, batch, logit_difference, "path", counterfactual))
    record = path.record(torch.tensor([0]), torch.tensor([alpha], dtype=torch.float64))
    site = ledger.sites[ledger.site[entry]]
    encoded = world.spliced.saes[site].encode(record.sites[site].arrival)
    assert encoded.margin is not None
    return float(encoded.margin[0, ledger.position[entry], ledger.index[entry]])


def test_every_gate_of_the_ledger_asked_for_crosses_an_odd_number_of_times(ledger: JumpLedger) -> None:
    assert ledger.crossings is not None
    assert len(ledger.crossings) == len(ledger)
    for alphas in ledger.crossings:
        assert len(alphas) % 2 == 1
        assert list(alphas) == sorted(alphas)
        assert all(0 < alpha < 1 for alpha in alphas)


def test_margins_change_sign_at_each_crossing_in_the_ledgers_direction(world: World, ledger: JumpLedger) -> None:
    assert ledger.crossings is not None
    for entry in np.linspace(0, len(ledger) - 1, 6).astype(int).tolist():
        assert (margin(world, ledger, entry, 1.0) > 0) == ledger.opened[entry]
        assert (margin(world, ledger, entry, 0.0) > 0) != ledger.opened[entry]
        for alpha in ledger.crossings[entry]:
            before, after = (margin(world, ledger, entry, alpha + step) for step in (-1e-5, 1e-5))
            assert (before > 0) != (after > 0)


def test_the_strongest_entries_keep_their_crossings(ledger: JumpLedger) -> None:
    strongest = ledger.strongest(3)
    assert ledger.crossings is not None
    first = int(np.argmax(np.abs(ledger.contribution)))
    assert strongest.crossings is not None
    assert strongest.crossings[0] == ledger.crossings[first]
    assert strongest.share[0] == pytest.approx(
        ledger.contribution[first] / ledger.total_effect[ledger.example[first]], rel=1e-12
    )


def test_live_mode_crosses_no_gate_and_another_models_ledger_is_refused(world: World, ledger: JumpLedger) -> None:
    with pytest.raises(ValueError, match="path or zero; got 'live'"):
        with_crossings(world.spliced, PAIRS, ledger, error_mode="live")
    other = JumpLedger.of([], ("blocks.9.hook_mlp_out",), ledger.total_effect)
    with pytest.raises(ValueError, match="other sites"):
        with_crossings(world.spliced, PAIRS, other)
