"""Chord IG on trained models: the embedded one with every set of SAEs, and a real small one where it is present."""

from pathlib import Path

import numpy as np
import pytest

from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.chord.chord_result import ChordAttribution
from attribution.dictionaries import load_saes
from attribution.effects.quadrature import gauss_legendre, midpoint
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.prompts.pair_file import read_pairs
from attribution.splice.spliced_model import SplicedModel
from circuits.embedded.load import embedded_model, embedded_saes, sae_sets
from circuits.tasks.prompts import task_pairs
from circuits.tasks.templates import TASKS

REAL = Path(__file__).resolve().parents[4] / "shared" / "real"
RTOL = 1e-3


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return embedded_model()


@pytest.fixture(scope="module", params=sae_sets())
def by_task(request: pytest.FixtureRequest, model: LanguageModel) -> dict[str, ChordAttribution]:
    """12 train pairs of every task, all sites of one set of SAEs spliced in at once."""
    spliced = SplicedModel(model, embedded_saes(request.param))
    return {
        task: chord_attribution(
            spliced,
            task_pairs(task, "train", 12, 0, model),
            logit_difference,
            points=gauss_legendre(8),
            rtol=RTOL,
            batch_size=12,
        )
        for task in TASKS
    }


def test_every_task_converges_from_few_points(by_task: dict[str, ChordAttribution]) -> None:
    converged = np.concatenate([found.converged for found in by_task.values() if found.converged is not None])
    assert len(converged) == 12 * len(TASKS)
    assert converged.mean() >= 0.99
    points = np.concatenate([found.stretch_points.ravel() for found in by_task.values()])
    assert points.mean() <= 16
    for found in by_task.values():
        residual, total = found.effects.residual, np.abs(found.effects.total_effect)
        assert residual is not None
        assert found.converged is not None
        assert (np.abs(residual) <= (RTOL + 1e-5) * total)[found.converged].all(), "float32 rounds"


def test_the_ledger_is_empty_exactly_where_no_encoder_has_gates(
    by_task: dict[str, ChordAttribution], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["by_task"]
    has_gates = any(sae.kind != "relu" for sae in embedded_saes(name).values())
    for found in by_task.values():
        assert (len(found.ledger) > 0) == has_gates
        assert set(found.ledger.site.tolist()) == (set(range(len(found.ledger.sites))) if has_gates else set())


@pytest.mark.skipif(not REAL.is_dir(), reason="the real model lies outside the project")
def test_chord_ig_is_complete_on_a_real_model_where_plain_ig_is_not() -> None:
    """All 15 sites of 5 layers at once, each pair with hundreds of gates that flip."""
    model = LanguageModel.load(REAL / "stories260K")
    spliced = SplicedModel(model, load_saes(REAL / "stories260K_saes"))
    assert len(spliced.sites) == 15
    pairs = read_pairs(REAL / "tasks" / "pronoun_tinystories.json", model).head(8)
    chord = chord_attribution(spliced, pairs, logit_difference, points=gauss_legendre(20))
    plain = input_path_integrated_gradients(spliced, pairs, logit_difference, points=midpoint(50), batch_size=8)
    errors = []
    for effects in (chord.effects, plain):
        assert effects.residual is not None
        errors.append(float(np.median(np.abs(effects.residual / effects.total_effect))))
    assert errors[0] < 1e-3
    assert errors[1] > 0.2
    assert len(chord.ledger) > 8 * 100
