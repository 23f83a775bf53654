"""Cautions about dictionaries: a planted fault is found, aliases are none, and a dictionary in its place is silent."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from attribution.checking.dictionary_cautions import dictionary_cautions, inactive, other_model, other_site
from attribution.dictionaries import SAE, JumpReLU, load_sae, load_saes, save_sae
from attribution.dictionaries.kinds.trained_on import TrainedOn
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World, saes_on, tiny_model

SITE, OTHER = "blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out"
WORLD = World(tiny_model("llama"), saes_on(tiny_model("llama"), JUMPRELU_SITES))


def spliced_with(change: Callable[[str, SAE], SAE]) -> SplicedModel:
    return SplicedModel(WORLD.model, {site: change(site, sae) for site, sae in WORLD.saes.items()}, dtype=torch.float64)


def saying(**said: Any) -> Callable[[str, SAE], SAE]:
    """The SAE at `SITE` says this of its training."""
    return lambda site, sae: replace(sae, trained_on=TrainedOn(**said)) if site == SITE else sae


def test_dictionaries_in_their_place_have_no_cautions() -> None:
    assert dictionary_cautions(WORLD.spliced, PAIRS.batches(1, WORLD.model)) == ()
    own = spliced_with(lambda site, sae: replace(sae, trained_on=TrainedOn(WORLD.model.name, site, int(site[7]))))
    assert dictionary_cautions(own, PAIRS.batches(1, WORLD.model)) == ()


def test_another_model_is_named_once_with_its_dictionaries() -> None:
    (found,) = other_model(spliced_with(lambda _, sae: replace(sae, trained_on=TrainedOn("pythia-70m"))))
    assert found.figures == {"saes": 5, "all": 5}
    assert "5 SAEs were trained on the model 'pythia-70m', says cfg.json" in found.sentence
    assert repr(WORLD.model.name) in found.sentence


def test_a_hostile_name_of_a_model_is_short_and_on_one_line() -> None:
    (found,) = other_model(spliced_with(saying(model="a\x1b[2J\n" + "b" * 10_000)))
    assert found.sentence.isprintable()
    assert len(found.sentence) < 400


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"hook": OTHER}, f"{SITE} (trained at '{OTHER}')"),
        ({"hook": "blocks.1.mlp.hook_out"}, "(trained at 'blocks.1.mlp.hook_out')"),
        ({"hook": "blocks.7.hook_mlp_out"}, "(trained at 'blocks.7.hook_mlp_out')"),
        ({"hook": SITE, "layer": 1}, "(trained at layer 1)"),
        ({"hook": "blocks.0.hook_resid_mid"}, "(trained at 'blocks.0.hook_resid_mid')"),
    ],
)
def test_another_hook_or_layer_is_said(said: dict[str, Any], words: str) -> None:
    (found,) = other_site(spliced_with(saying(**said)))
    assert found.figures == {"saes": 1, "all": 5}
    assert words in found.sentence


@pytest.mark.parametrize("hook", [SITE, "blocks.0.mlp.hook_out", "model.layers.0.mlp", "", "residual"])
def test_another_spelling_of_the_hook_is_none(hook: str) -> None:
    assert other_site(spliced_with(saying(hook=hook))) == ()


def test_dictionaries_exchanged_in_a_mapping_are_said_even_if_no_file_speaks_of_them() -> None:
    swapped = {**WORLD.saes, SITE: WORLD.saes[OTHER], OTHER: WORLD.saes[SITE]}
    (found,) = other_site(SplicedModel(WORLD.model, swapped, dtype=torch.float64))
    assert found.figures["saes"] == 2
    assert found.sentence.startswith("2 SAEs are spliced in elsewhere than trained")


def test_what_a_file_names_survives_another_site_in_memory_and_counts(tmp_path: Path) -> None:
    sae = next(sae for site, sae in WORLD.saes.items() if site == OTHER)
    save_sae(replace(sae, trained_on=TrainedOn(model="gpt2")), tmp_path)
    loaded = load_sae(tmp_path, site=SITE)
    assert (loaded.site, loaded.trained_on) == (SITE, TrainedOn("gpt2", OTHER))
    assert loaded.to(dtype=torch.float64).trained_on == loaded.trained_on
    kinds = [c.kind for c in dictionary_cautions(SplicedModel(WORLD.model, [loaded], dtype=torch.float64))]
    assert kinds == ["other_model", "other_site"]


def test_old_files_say_model_hook_and_layer_at_their_top_and_other_types_are_refused(tmp_path: Path) -> None:
    save_sae(WORLD.saes[SITE], tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    del config["metadata"]["hook_name"]
    said: dict[str, Any] = {"hook_point": SITE, "hook_point_layer": 3, "model_name": "gpt2-small"}
    (tmp_path / "cfg.json").write_text(json.dumps({**config, **said}))
    assert load_saes(tmp_path)[SITE].trained_on == TrainedOn("gpt2-small", SITE, 3)
    for key, value in (("hook_point_layer", [0, 1]), ("model_name", 7)):
        (tmp_path / "cfg.json").write_text(json.dumps({**config, **said, key: value}))
        with pytest.raises(ValueError, match=f"{key} is"):
            load_saes(tmp_path)


def test_training_changes_no_digest() -> None:
    sae = WORLD.saes[SITE]
    assert replace(sae, trained_on=TrainedOn("gpt2")).digest() == sae.digest()


def test_a_dictionary_that_is_never_active_is_found_and_looking_ends_when_all_have_been() -> None:
    def silenced(site: str, sae: SAE) -> SAE:
        assert isinstance(sae, JumpReLU)
        return replace(sae, threshold=torch.full_like(sae.threshold, 1e9)) if site in (SITE, OTHER) else sae

    (found,) = inactive(spliced_with(silenced), PAIRS.batches(1, WORLD.model))
    assert found.figures == {"saes": 2, "all": 5}
    assert f"No feature of the SAEs at {SITE}, {OTHER} is active on any prompt" in found.sentence
    batches = PAIRS.batches(3, WORLD.model)
    assert inactive(WORLD.spliced, batches) == ()
    taken = iter(PAIRS.batches(1, WORLD.model))
    inactive(WORLD.spliced, taken)
    assert next(taken, None) is not None


def test_without_prompts_nothing_is_said_of_activity() -> None:
    assert inactive(WORLD.spliced, ()) == ()
