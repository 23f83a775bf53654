"""Names that mean one model are one; a model of the same family is another."""

import json
from pathlib import Path

import pytest

from attribution.models.language_model import LanguageModel
from attribution.models.model_names import same_model
from circuits.embedded.load import MODEL_FOLDER, embedded_model, embedded_saes, load_model
from tests.worlds.tiny_models import save_hugging_face_folder


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt2", "gpt2"),
        ("gpt2", "gpt2-small"),
        ("gpt2-small", "openai-community/gpt2"),
        ("GPT2", "gpt2"),
        ("gemma_2_2b", "google/gemma-2-2b"),
        ("/home/someone/models/my-model/", "my-model"),
        ("mistral-7b", "mistralai/Mistral-7B-v0.1"),
    ],
)
def test_spellings_of_one_model_are_one(one: str, other: str) -> None:
    assert same_model(one, [other])
    assert same_model(other, ["another", one])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt2", "gpt2-medium"),
        ("pythia-70m", "pythia-70m-deduped"),
        ("google/gemma-2-2b", "google/gemma-2-2b-it"),
        ("gpt2", "embedded"),
    ],
)
def test_relatives_are_other_models(one: str, other: str) -> None:
    assert not same_model(one, [other])


def test_a_folder_is_known_by_its_name_the_hubs_cache_and_its_own_config(tmp_path: Path) -> None:
    folder = tmp_path / "models--someone--tiny-llama" / "snapshots" / "0a1b2c"
    save_hugging_face_folder(folder, "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": "someone/first-llama"}))
    model = LanguageModel.load(folder)
    assert {"0a1b2c", "tiny-llama", "someone/first-llama"} <= set(model.names)


def test_the_embedded_model_has_the_name_that_its_dictionaries_give_it_also_from_its_folder() -> None:
    said = {sae.trained_on.model for sae in embedded_saes().values()}
    for model in (embedded_model(), load_model(MODEL_FOLDER)):
        assert all(same_model(name, model.names) for name in said)
