"""Loading, resuming, freezing: what language_model.py promises about every shape of model."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from attribution.models.language_model import LanguageModel
from tests.worlds.tiny_models import BOS, NoBOS, save_hugging_face_folder

IDS = torch.tensor([[0, 5, 9, 3], [7, 8, 2, 11]])


def test_a_folder_loads_with_its_tokenizer(tmp_path: Path) -> None:
    save_hugging_face_folder(tmp_path, "llama")
    model = LanguageModel.load(tmp_path, dtype=torch.float64)
    assert (model.n_layers, model.d_model, model.d_vocab, model.dtype) == (2, 16, 24, torch.float64)
    assert (model.bos_id, model.name) == (BOS, tmp_path.name)
    assert model.token_ids("w3 w0") == [BOS, 5, 2]
    assert model.token_text(5).strip() == "w3"


@pytest.mark.parametrize("auto_class", ["AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"])
@pytest.mark.parametrize("model_type", ["llama", "mine"])
def test_code_that_lies_beside_a_model_is_never_run(tmp_path: Path, auto_class: str, model_type: str) -> None:
    save_hugging_face_folder(tmp_path, "llama")
    own = {"auto_map": {auto_class: "mine.Mine" if auto_class != "AutoTokenizer" else ["mine.Mine", None]}}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps(content | own | {"model_type": model_type}))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Mine: ...\n")
    with suppress(ValueError):  # refused, or opened as transformers' own class
        LanguageModel.load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_loading_twice_gives_the_same_digest_and_another_weight_another(tmp_path: Path) -> None:
    save_hugging_face_folder(tmp_path, "llama")
    first, second = (LanguageModel.load(tmp_path, dtype=torch.float64) for _ in range(2))
    assert first.digest() == second.digest()
    with torch.no_grad():
        next(iter(second.module.parameters()))[0, 0] += 1e-9
    assert first.digest() != second.digest()


def test_a_path_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        LanguageModel.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no config.json: not a Hugging Face model folder"):
        LanguageModel.load(tmp_path)


def test_an_object_that_is_no_transformer_lens_model_is_an_error() -> None:
    with pytest.raises(TypeError, match="Linear is not a TransformerLens model: it has no hook_dict, blocks"):
        LanguageModel(torch.nn.Linear(2, 2))


def test_logits_are_the_bare_models(model: LanguageModel) -> None:
    assert torch.equal(model.logits(IDS), model.module(IDS))


def test_head_and_blocks_compose_to_the_whole_model(model: LanguageModel) -> None:
    with torch.no_grad():
        _, cache = model.module.run_with_cache(IDS)
        torch.testing.assert_close(model.head(cache["blocks.1.hook_resid_post"]), model.module(IDS))


def test_right_padding_does_not_reach_earlier_positions(model: LanguageModel) -> None:
    padded = torch.cat([IDS, torch.tensor([[1, 1], [0, 23]])], dim=1)
    torch.testing.assert_close(model.logits(padded)[:, :4], model.logits(IDS), rtol=1e-10, atol=1e-12)


def test_parameters_are_frozen_inside_and_given_back(model: LanguageModel) -> None:
    parameters = list(model.module.parameters())
    before = [p.requires_grad for p in parameters]

    def stopped_inside() -> None:
        with model.frozen():
            assert not any(p.requires_grad for p in parameters)
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        stopped_inside()
    assert [p.requires_grad for p in parameters] == before
    assert any(before)


def test_text_without_a_tokenizer_is_an_error(llama: LanguageModel) -> None:
    model = LanguageModel(llama.module, NoBOS())
    assert model.bos_id is None
    model.tokenizer = None
    with pytest.raises(ValueError, match="no tokenizer: give token ids"):
        model.token_ids("w1")
