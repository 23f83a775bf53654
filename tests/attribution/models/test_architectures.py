"""Every architecture proves itself at load, and effects on it are those of plain transformers with hooks."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attribution.checking.model_report import model_report
from attribution.dictionaries import SAE, JumpReLU
from attribution.effects.effects import Effects
from attribution.methods.exact_patching import exact_patching
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from tests.twins import architectures_with_hooks as plain_transformers
from tests.worlds.architectures import ARCHITECTURES, VOCABULARY, Architecture, save_model
from tests.worlds.tiny_models import HAS_HOOKED

FEW = ("GPT-2", "GPT-NeoX (Pythia)", "Llama", "Qwen3", "Gemma-2", "Mixtral")
"""One of each way to build a block; the other architectures are among the slow tests."""
PAIRS = PromptPairs(
    (
        PromptPair((2, 5, 9, 3, 17), (2, 5, 12, 3, 26), 4, 7),
        PromptPair((2, 5, 9, 3, 17, 8, 11), (2, 5, 12, 3, 26, 8, 11), 4, 7),
    )
)
SITES = (
    "blocks.0.hook_attn_out",
    "blocks.0.hook_mlp_out",
    "blocks.1.hook_resid_pre",
    "blocks.1.attn.hook_z",
    "blocks.1.hook_mlp_out",
)
MODES: tuple[ErrorMode, ...] = ("live", "frozen")
LOST_WRITES = "Granite"
"""transformer-lens 3 hooks its attention where a write is lost: the site is refused."""
FALCON_ALIBI = "Falcon with ALiBi"
"""TransformerLens computes other logits than transformers' default attention."""


def saes_for(model: Any, architecture: Architecture) -> dict[str, SAE]:
    """JumpReLU SAEs in float32 whose features are each active at about half of the places, far from rounding."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, VOCABULARY, (8, 7), generator=generator)
    found: dict[str, SAE] = {}
    for site, x in plain_transformers.activations(model, architecture, ids, SITES).items():
        flat = x.flatten(0, 1)
        W_enc = torch.randn(flat.shape[1], 24, generator=generator) / (float(flat.std()) * flat.shape[1] ** 0.5)
        found[site] = JumpReLU(
            W_enc=W_enc,
            b_enc=-(flat @ W_enc).median(0).values,
            W_dec=torch.randn(24, flat.shape[1], generator=generator) * float(flat.std()) / 24**0.5,
            b_dec=0.1 * flat.mean(0),
            threshold=torch.full((24,), 0.3),
            site=site,
            apply_b_dec_to_input=False,
            normalisation="none",
        )
    return found


def by_place(found: Effects, example: int) -> dict[tuple[str, int, int], float]:
    """Effects by site, position and index; -1 for errors. Tokens are left out."""
    chosen = np.flatnonzero((found.example == example) & (found.site > 0))
    return {
        (found.sites[found.site[n]], int(found.position[n]), int(found.index[n])): float(found.effect[n])
        for n in chosen
    }


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FEW else pytest.mark.slow) for n in ARCHITECTURES])
def test_effects_equal_those_of_plain_transformers(name: str, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[name]
    plain = save_model(tmp_path, architecture)
    saes = saes_for(plain, architecture)
    expected = {
        (mode, n): plain_transformers.effects(
            plain, architecture, saes, pair.clean_ids, pair.patch_ids, (pair.answer_id, pair.foil_id), mode
        )
        for mode in MODES
        for n, pair in enumerate(PAIRS)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for backend in ("hugging-face",) if HAS_HOOKED and name == LOST_WRITES else ("auto", "hugging-face"):
            spliced = SplicedModel(LanguageModel.load(tmp_path, backend=backend), saes)
            assert spliced.can_resume, f"{name} by {spliced.model.backend}"
            for mode in MODES:
                for batch_size, runs_at_once in ((4, 64), (1, 7)):
                    found = exact_patching(
                        spliced,
                        PAIRS,
                        logit_difference,
                        error_mode=mode,
                        batch_size=batch_size,
                        runs_at_once=runs_at_once,
                    )
                    for n in range(len(PAIRS)):
                        assert_same(by_place(found, n), expected[mode, n], f"{name}, {backend}, {mode}, pair {n}")


def assert_same(
    found: dict[tuple[str, int, int], float], expected: dict[tuple[str, int, int], float], where: str
) -> None:
    size = max(map(abs, expected.values()))
    assert size > 1e-3, where
    for place in found.keys() | expected.keys():
        difference = abs(found.get(place, 0.0) - expected.get(place, 0.0))
        assert difference <= 1e-4 * size, f"{where}, {place}: {found.get(place)} for {expected.get(place)}"


DOCUMENTED = Path(__file__).parents[3] / "docs" / "your_own_model.md"


@pytest.mark.skipif(not HAS_HOOKED, reason="transformer-lens 4 hooks Granite's attention where writes count")
def test_a_site_whose_writes_are_lost_is_refused(tmp_path: Path) -> None:
    saes = saes_for(save_model(tmp_path, ARCHITECTURES[LOST_WRITES]), ARCHITECTURES[LOST_WRITES])
    site = "blocks.0.hook_attn_out"
    with pytest.raises(ValueError, match=f"A write at the site '{site}' does not reach the logits"):
        SplicedModel(LanguageModel.load(tmp_path), {site: saes[site]})


@pytest.mark.skipif(HAS_HOOKED, reason="the table is that of transformer-lens 4")
def test_the_documented_table_is_what_the_models_prove(tmp_path: Path) -> None:
    rows = []
    for name, architecture in ARCHITECTURES.items():
        save_model(tmp_path / name, architecture)
        report = model_report(LanguageModel.load(tmp_path / name))
        assert report.lengths is None
        assert report.resumes
        by = {"transformer-lens": "TransformerLens", "hugging-face": "its own modules"}[report.backend]
        rows.append(f"| {name} | {by} | {'cones' if report.no_cones is None else 'whole blocks'} |")
        assert len(report.sites) == 5, name
    written = re.search(r"\| model \| run by \| exact patching \|\n\|[ |-]+\|\n((?:\|.*\|\n)+)", DOCUMENTED.read_text())
    assert written is not None
    assert written.group(1).splitlines() == rows


def test_a_model_that_transformer_lens_gets_wrong_is_run_by_its_own_modules(tmp_path: Path) -> None:
    save_model(tmp_path, ARCHITECTURES[FALCON_ALIBI])
    report = model_report(LanguageModel.load(tmp_path))
    assert report.backend == "hugging-face"
    assert report.reason is not None
    assert re.match(
        r"TransformerLens computes other logits than FalconForCausalLM: they differ by 0\.\d+", report.reason
    )
    with pytest.raises(ValueError, match=r"other logits than FalconForCausalLM.*Choose --backend hugging-face"):
        LanguageModel.load(tmp_path, backend="transformer-lens")
