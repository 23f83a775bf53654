"""Gates within rounding of their threshold in a patched run: float64 decides them, or both values are given."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from attribution.cones import exact_engine
from attribution.dictionaries import SAE, JumpReLU, load_saes
from attribution.effects.effects import GATES, Effects
from attribution.effects.undecided_effects import effects_in_rounding
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.models.double_precision import in_float64
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.prompts.pair_file import read_pairs
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.gate_rounding import rounding
from attribution.splice.gate_watch import NEAR, UNDECIDED
from attribution.splice.node_keys import node_keys, node_of_key
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from tests.attribution.cones.test_cone import whole_runs
from tests.twins import method_twins as twins
from tests.worlds import planted_gates
from tests.worlds.planted_gates import planted_world
from tests.worlds.tiny_models import BOS, World, activations, fitting_sae, save_hugging_face_folder

REAL = Path(__file__).resolve().parents[4] / "shared" / "real"
PAIR = PromptPair((BOS, 5, 9, 3, 17), (BOS, 5, 12, 3, 17), 4, 7)
PAIRS = PromptPairs((PAIR, PromptPair((BOS, 7, 8, 2, 11, 4), (BOS, 7, 8, 20, 15, 4), 9, 2)))
SITES = ("blocks.0.hook_mlp_out", "blocks.1.hook_attn_out", "blocks.1.hook_mlp_out")
SOURCE, GATED = SITES[0], SITES[2]
MODES: tuple[ErrorMode, ...] = ("frozen", "zero")


@cache
def models() -> tuple[LanguageModel, LanguageModel]:
    """The same float32 weights, computing in float32 and in float64."""
    with tempfile.TemporaryDirectory() as folder:
        save_hugging_face_folder(Path(folder), "gpt2")
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).save_pretrained(folder)
        coarse, fine = (LanguageModel.load(folder, dtype=dtype) for dtype in (torch.float32, torch.float64))
        return coarse, fine


@cache
def plain_saes() -> dict[str, SAE]:
    """JumpReLU SAEs whose weights are float32 numbers."""
    seen = activations(models()[1], SITES)
    fitting = {s: fitting_sae(JumpReLU, seen[s], s, seed=n) for n, s in enumerate(SITES)}
    return {s: sae.to(dtype=torch.float32).to(dtype=torch.float64) for s, sae in fitting.items()}


@dataclass(frozen=True)
class Planted:
    """A node of `SOURCE` whose patch brings a gate of `GATED` to its threshold, so many roundings from it."""

    saes: dict[str, SAE]
    node: tuple[int, int]
    gate: int
    rounding: float

    def moved(self, roundings: float) -> dict[str, SAE]:
        """The SAEs with the threshold of that gate raised by so many roundings, to a float32 number."""
        sae = self.saes[GATED]
        assert isinstance(sae, JumpReLU)
        threshold = sae.threshold.clone()
        threshold[self.gate] += roundings * self.rounding
        return self.saes | {GATED: replace(sae, threshold=threshold.float().double())}

    def spliced(self, roundings: float) -> SplicedModel:
        """In float32."""
        return SplicedModel(models()[0], self.moved(roundings))

    def key(self) -> int:
        position, index = (np.array([n]) for n in self.node)
        return int(node_keys(np.zeros(1, int), position, index, site=1 + SITES.index(SOURCE), kind="feature")[0])

    def reference(self, mode: ErrorMode, roundings: float) -> float:
        """The node's effect by plain hooks in float64."""
        return effect_by_hooks(World(models()[1], self.moved(roundings)), PAIR, mode, SOURCE, *self.node)


def effect_by_hooks(world: World, pair: PromptPair, mode: str, site: str, position: int, index: int) -> float:
    """m(do(u = p_u)) − m(clean) of one feature, in the precision of the world."""
    c, p = twins.ends(world, pair.clean_ids, pair.patch_ids, mode)
    run = patched_run(world, pair, mode, c, p, site, position, index)
    with torch.no_grad():
        clean = twins.forward(world, pair.clean_ids, mode, errors=c.e)
    difference = (run.logits - clean.logits)[0]
    return float(difference[pair.answer_id] - difference[pair.foil_id])


def patched_run(
    world: World, pair: PromptPair, mode: str, c: twins.Run, p: twins.Run, site: str, position: int, index: int
) -> twins.Run:
    def edit(s: str, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        if s == site:
            f = f.clone()
            f[0, position, index] = p.f[s][0, position, index]
        return f, e

    with torch.no_grad():
        return twins.forward(world, pair.clean_ids, mode, errors=c.e, edit=edit)


@cache
def planted(mode: ErrorMode) -> Planted:
    """The gate of `GATED` at the last position that the strongest feature of `SOURCE` opens widest."""
    world = World(models()[1], plain_saes())
    effects = exact_patching(world.spliced, PromptPairs((PAIR,)), logit_difference, error_mode=mode)
    own = np.flatnonzero(effects.at(SOURCE) & effects.of_kind("feature"))
    best = own[np.argmax(np.abs(effects.effect[own]))]
    node = int(effects.position[best]), int(effects.index[best])
    c, p = twins.ends(world, PAIR.clean_ids, PAIR.patch_ids, mode)
    run, sae = patched_run(world, PAIR, mode, c, p, SOURCE, *node), plain_saes()[GATED]
    assert isinstance(sae, JumpReLU)
    x = torch.stack([run.x[GATED][0, -1], c.x[GATED][0, -1]])
    encoding = sae.encode(x)
    z = encoding.projection + sae.b_enc
    moved = torch.where(z[0] > 0.1, (z[0] - z[1]).abs(), 0)
    gate = int(moved.argmax())
    threshold = sae.threshold.clone()
    threshold[gate] = z[0, gate].float().double()
    exact = replace(sae, threshold=threshold)
    unit = float(rounding(exact, x, exact.encode(x))[0, gate]) * torch.finfo(torch.float32).eps
    return Planted(plain_saes() | {GATED: exact}, node, gate, unit / torch.finfo(torch.float64).eps)


def entry(effects: Effects, key: int) -> tuple[float, float, str]:
    (n,) = np.flatnonzero(effects.keys() == key)
    return float(effects.effect[n]), float(effects.open_effect[n]), GATES[effects.gates[n]]


Measure = Callable[..., Effects]


@pytest.fixture(params=["cones", "whole runs"])
def measure(request: Any, monkeypatch: pytest.MonkeyPatch) -> Measure:
    if request.param == "cones":
        return exact_patching
    return lambda *given, **options: whole_runs(monkeypatch, *given, **options)


@pytest.mark.parametrize("mode", MODES)
def test_a_gate_at_its_threshold_in_a_patched_run_is_undecided_and_both_values_are_given(
    mode: ErrorMode, measure: Measure
) -> None:
    world = planted(mode)
    effects = measure(world.spliced(0), PAIRS, logit_difference, error_mode=mode)
    closed, opened, gates = entry(effects, world.key())
    assert gates == "undecided"
    assert effects.undecided.any()
    assert closed == pytest.approx(world.reference(mode, 50), abs=1e-5)
    assert opened == pytest.approx(world.reference(mode, -50), abs=1e-5)
    assert abs(closed - opened) > 1e-3


@pytest.mark.parametrize("roundings", [-2.0, 2.0])
@pytest.mark.parametrize("mode", MODES)
def test_a_gate_two_roundings_away_falls_as_in_float64(mode: ErrorMode, roundings: float, measure: Measure) -> None:
    assert UNDECIDED < abs(roundings) < NEAR
    world = planted(mode)
    effects = measure(world.spliced(roundings), PAIRS, logit_difference, error_mode=mode)
    closed, opened, gates = entry(effects, world.key())
    assert gates == "float64"
    assert closed == opened == pytest.approx(world.reference(mode, roundings), abs=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_far_from_every_threshold_nothing_is_repeated(mode: ErrorMode) -> None:
    spliced = SplicedModel(models()[0], plain_saes())
    effects = exact_patching(spliced, PAIRS, logit_difference, error_mode=mode)
    assert not effects.gates.any()
    np.testing.assert_array_equal(effects.open_effect, effects.effect)
    live = exact_patching(planted(mode).spliced(0), PAIRS, logit_difference)
    assert not live.gates.any()


@pytest.mark.parametrize("mode", MODES)
def test_where_many_would_be_repeated_only_the_strongest_are(mode: ErrorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    given = planted_world("gpt2", mode), planted_gates.PAIRS.head(2), logit_difference
    whole = exact_patching(*given, error_mode=mode)
    flagged = whole.gates != GATES.index("clear")
    assert flagged.sum() > 20
    assert np.array_equal(whole.repeated, flagged)
    monkeypatch.setattr(exact_engine, "REPEATED_FLOPS", 0)
    monkeypatch.setattr(exact_engine, "REPEATED_SHARE", 10.5 / len(flagged))
    few = exact_patching(*given, error_mode=mode)
    assert np.array_equal(few.keys(), whole.keys())
    assert few.repeated.sum() == 10
    near = few.gates == GATES.index("near")
    assert np.array_equal(few.repeated | near, flagged)
    np.testing.assert_allclose(few.effect[few.repeated], whole.effect[few.repeated], rtol=1e-9)
    assert np.abs(few.effect[few.repeated]).min() >= np.abs(few.effect[near]).max() - 1e-3
    counted = effects_in_rounding(few)
    assert counted is not None
    assert (counted.repeated, counted.near) == (10, near.sum())


def test_batches_of_every_size_give_the_same_marks() -> None:
    spliced = planted("frozen").spliced(0)
    whole = exact_patching(spliced, PAIRS, logit_difference, error_mode="frozen")
    single = exact_patching(spliced, PAIRS, logit_difference, error_mode="frozen", batch_size=1, bytes_at_once=1)
    np.testing.assert_array_equal(single.gates, whole.gates)
    np.testing.assert_allclose(single.effect, whole.effect, rtol=0, atol=1e-5)


def test_effects_keep_their_marks_in_a_file(tmp_path: Path) -> None:
    effects = exact_patching(planted("frozen").spliced(0), PAIRS, logit_difference, error_mode="frozen")
    effects.write_parquet(tmp_path / "effects.parquet")
    read = Effects.read_parquet(tmp_path / "effects.parquet")
    np.testing.assert_array_equal(read.gates, effects.gates)
    np.testing.assert_array_equal(read.open_effect, effects.open_effect)
    assert "undecided" in set(effects.table()["gates"].to_pylist())


def test_a_model_is_as_it_was_after_it_has_computed_in_float64() -> None:
    model = models()[0]
    ids, before = model.probe_ids(), dict(model.module.state_dict())
    with torch.no_grad():
        expected = model.logits(ids)
        with in_float64(model):
            assert model.logits(ids).dtype == model.dtype == torch.float64
        with pytest.raises(RuntimeError, match="stop"), in_float64(model):
            raise RuntimeError("stop")
        assert torch.equal(model.logits(ids), expected)
    after = model.module.state_dict()
    assert all(after[name].data_ptr() == tensor.data_ptr() for name, tensor in before.items())


def test_float64_stays_float64_where_a_norm_asks_for_float32() -> None:
    """A Llama's norms round to float32 whatever the model's dtype: not here."""
    with tempfile.TemporaryDirectory() as folder:
        save_hugging_face_folder(Path(folder), "llama")
        model = LanguageModel.load(folder, dtype=torch.float64)
    ids = model.probe_ids()
    with torch.no_grad():
        rounded = model.logits(ids)
        with in_float64(model):
            exact = model.logits(ids)
            with in_float64(model):
                assert torch.equal(model.logits(ids), exact)
    assert 0 < float((rounded - exact).abs().max()) < 1e-4


@pytest.mark.skipif(not REAL.is_dir(), reason="the real model lies outside the project")
@pytest.mark.parametrize("mode", MODES)
def test_on_a_real_model_no_decided_effect_differs_from_float64_by_plain_hooks(mode: ErrorMode) -> None:
    """A random sample of nodes, and in frozen mode one that has the wrong sign in float32."""
    model = LanguageModel.load(REAL / "stories260K")
    saes = load_saes(REAL / "stories260K_saes")
    spliced = SplicedModel(model, saes)
    pairs = read_pairs(REAL / "tasks" / "pronoun_templates.json", model).head(1)
    site = 1 + spliced.sites.index("blocks.2.hook_mlp_out")
    wrong = node_keys(*np.array([[0], [1], [95]]), site=site, kind="feature")
    every = attribution_patching(spliced, pairs, logit_difference, error_mode=mode)
    keys = np.random.default_rng(0).choice(every.keys()[every.of_kind("feature")], 600, replace=False)
    effects = exact_patching(spliced, pairs, logit_difference, error_mode=mode, only=np.union1d(keys, wrong))
    fine = World(
        LanguageModel.load(REAL / "stories260K", dtype=torch.float64),
        {site: saes[site].to(dtype=torch.float64) for site in spliced.sites},
    )
    clear, repeated = (np.flatnonzero(effects.gates == GATES.index(name)) for name in ("clear", "float64"))
    assert len(repeated)
    sample = {int(effects.keys()[n]): float(effects.effect[n]) for n in (*clear[::80], *repeated[:4])}
    if mode == "frozen":
        sample[int(wrong[0])] = entry(effects, int(wrong[0]))[0]
        assert sample[int(wrong[0])] == pytest.approx(0.22135, abs=1e-4)
    largest = np.abs(every.total_effect).max()
    for key, effect in sample.items():
        node = node_of_key(key, effects.sites)
        expected = effect_by_hooks(fine, pairs[0], mode, node.site, node.position, node.index)
        assert effect == pytest.approx(expected, abs=2e-5 * largest), node
