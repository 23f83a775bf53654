"""Loading by name goes through the real hub code, here against a local server that has one tiny repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.attribution.models.local_hub import local_hub

LOAD = """
import sys, torch
from attribution.models.language_model import LanguageModel
model = LanguageModel.load(sys.argv[1])
torch.save(model.logits(torch.tensor([[0, 3, 4, 5]])), sys.argv[2])
print(model.name, model.n_layers, model.bos_id)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12,
        bos_token_id=0,
        eos_token_id=1,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {word: i for i, word in enumerate(["<s>", "</s>", "<unk>", *"abcdefghi"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def _load(name: str, endpoint: str, home: Path, logits: Path) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    environment = {**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", LOAD, name, str(logits)], env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.slow
def test_a_model_loads_by_name_and_equals_its_folder(repository: Path, tmp_path: Path) -> None:
    with local_hub("tiny/llama", repository) as endpoint:
        run = _load("tiny/llama", endpoint, tmp_path / "home", tmp_path / "logits.pt")
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-3:] == ["tiny/llama", "2", "0"]
    local = LlamaForCausalLM.from_pretrained(repository)
    expected = local(torch.tensor([[0, 3, 4, 5]])).logits
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), expected, rtol=1e-5, atol=1e-5)


def test_a_name_the_hub_does_not_have_fails_with_that_name(repository: Path, tmp_path: Path) -> None:
    with local_hub("tiny/llama", repository) as endpoint:
        run = _load("tiny/missing", endpoint, tmp_path / "home", tmp_path / "logits.pt")
    assert run.returncode != 0
    assert "tiny/missing" in run.stderr


@pytest.mark.slow
def test_a_model_that_was_downloaded_loads_by_name_without_a_hub(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with local_hub("tiny/llama", repository) as endpoint:
        assert _load("tiny/llama", endpoint, home, tmp_path / "online.pt").returncode == 0
    run = _load("tiny/llama", endpoint, home, tmp_path / "offline.pt")
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-3:] == ["tiny/llama", "2", "0"]
    assert torch.equal(torch.load(tmp_path / "online.pt"), torch.load(tmp_path / "offline.pt"))
