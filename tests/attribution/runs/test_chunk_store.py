"""Runs that survive: a killed sweep goes on where it was, and nothing is reused for other inputs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.cones import exact_engine as exact_module
from attribution.effects.effects import Effects
from attribution.effects.quadrature import Quadrature, gauss_legendre, midpoint
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.methods.registry import METHODS
from attribution.prompts.metrics import METRICS, Metric, OnLogits, logit_difference
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.runs import chunk_key, chunk_store
from attribution.runs.chunk_store import ChunkStore, kept_in
from attribution.splice.patch_values import Changes, counterfactual, mean_over, zero
from attribution.splice.recording import ErrorMode, Recording
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World

TWO = PAIRS.head(2)


class Own:
    """A patch value that does not say what it stands for."""

    name = "counterfactual"

    def __call__(
        self, spliced: SplicedModel, batch: PairBatch, clean: Recording, metric: OnLogits, error_mode: ErrorMode
    ) -> Changes:
        return counterfactual(spliced, batch, clean, metric, error_mode)


def arrays_of(result: Any) -> dict[str, np.ndarray]:
    values = {f.name: getattr(result, f.name) for f in fields(result)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def assert_same_bits(one: Any, other: Any) -> None:
    first, second = arrays_of(one), arrays_of(other)
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert (values.dtype, values.tobytes()) == (second[name].dtype, second[name].tobytes()), name


@pytest.mark.slow
def test_a_sweep_killed_ten_times_ends_with_the_same_bits_and_does_at_most_one_chunk_twice_a_kill(
    tmp_path: Path,
) -> None:
    if sys.platform == "win32":
        pytest.skip("needs fork and SIGKILL")
    script = Path(__file__).with_name("killed_sweeps.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(script.parents[3])},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["identical"]
    assert report["nodes"] > 1000
    assert report["kills"] == 10
    assert report["chunks"] < report["starts"] <= report["chunks"] + report["kills"]
    assert report["reused"] > 0
    assert report["concurrent_identical"] == [True, True]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_comes_back_bit_for_bit(llama_world: World, tmp_path: Path, name: str) -> None:
    given = llama_world.spliced, PAIRS, logit_difference
    with kept_in(tmp_path):
        found = [METHODS[name](*given)]
    with kept_in(tmp_path) as store:
        found.append(METHODS[name](*given))
    tally = store.tallies[found[0].method]
    assert (tally.computed, tally.rows_reused) == (0, len(found[0]))
    assert found[0].settings == found[1].settings
    assert_same_bits(*found)
    without = METHODS[name](*given)
    assert len(without) == len(found[0])
    assert np.allclose(without.effect, found[0].effect, rtol=1e-9, atol=1e-12)


def test_what_chord_ig_finds_beside_effects_comes_back_too(llama_world: World, tmp_path: Path) -> None:
    given = llama_world.spliced, PAIRS, logit_difference
    alone = chord_attribution(*given, split=True, batch_size=2)
    with kept_in(tmp_path):
        chord_attribution(*given, split=True, batch_size=2)
    with kept_in(tmp_path) as store:
        again = chord_attribution(*given, split=True, batch_size=2)
    assert store.tallies["chord_integrated_gradients"].computed == 0
    assert len(again.ledger.contribution) > 0
    assert_same_bits(alone, again)
    assert_same_bits(alone.ledger, again.ledger)
    assert (alone.stretches, alone.rtol) == (again.stretches, again.rtol)


@dataclass(frozen=True)
class Asked:
    """One measurement; what a test changes is one of these."""

    spliced: SplicedModel
    pairs: PromptPairs = TWO
    metric: Metric = logit_difference
    method: Callable[..., Effects] = integrated_gradients
    options: tuple[tuple[str, Any], ...] = ()

    def tally(self, folder: Path) -> tuple[int, int]:
        """Chunks computed and reused."""
        with kept_in(folder) as store:
            self.method(self.spliced, self.pairs, self.metric, **dict(self.options))
        (tally,) = store.tallies.values()
        return tally.computed, tally.reused


def with_pair(**changes: Any) -> PromptPairs:
    return PromptPairs((PAIRS[0], replace(PAIRS[1], **changes)))


def own(version: str) -> Metric:
    return Metric("own", "logits", of=lambda logits, b: 2 * logits[:, 3], version=version)


def mean_of(world: World, *prompts: tuple[int, ...]) -> tuple[tuple[str, Any], ...]:
    return (("patch_value", mean_over(world.spliced, prompts)),)


def keys_of(world: World, chosen: slice) -> tuple[tuple[str, Any], ...]:
    return (("only", attribution_patching(world.spliced, TWO, logit_difference).keys()[chosen]),)


CHANGES: dict[str, Callable[[World, Asked], tuple[Asked, Asked]]] = {
    "clean prompt": lambda w, a: (a, replace(a, pairs=with_pair(clean_ids=(0, 7, 9, 2, 11, 4)))),
    "patch prompt": lambda w, a: (a, replace(a, pairs=with_pair(patch_ids=(0, 7, 8, 21, 15, 4)))),
    "answer": lambda w, a: (a, replace(a, pairs=with_pair(answer_id=10))),
    "foil": lambda w, a: (a, replace(a, pairs=with_pair(foil_id=3))),
    "order of pairs": lambda w, a: (a, replace(a, pairs=PromptPairs(TWO.pairs[::-1]))),
    "metric": lambda w, a: (a, replace(a, metric=METRICS["log_probability"])),
    "own metric's version": lambda w, a: (replace(a, metric=own("1")), replace(a, metric=own("2"))),
    "error mode": lambda w, a: (a, replace(a, options=(("error_mode", "frozen"),))),
    "method": lambda w, a: (a, replace(a, method=attribution_patching)),
    "points": lambda w, a: (a, replace(a, options=(("points", midpoint(6)),))),
    "rule": lambda w, a: (a, replace(a, options=(("points", gauss_legendre(5)),))),
    "own rule": lambda w, a: (a, replace(a, options=(("points", Quadrature((0.1,) * 5, (0.2,) * 5, "midpoint")),))),
    "patch value": lambda w, a: (a, replace(a, options=(("patch_value", zero),))),
    "content of the patch value": lambda w, a: (
        replace(a, options=mean_of(w, (0, 5, 6))),
        replace(a, options=mean_of(w, (0, 5, 7))),
    ),
    "nodes": lambda w, a: (
        replace(a, method=exact_patching, options=keys_of(w, slice(0, None, 2))),
        replace(a, method=exact_patching, options=keys_of(w, slice(1, None, 2))),
    ),
    "all nodes or some": lambda w, a: (
        replace(a, method=exact_patching),
        replace(a, method=exact_patching, options=keys_of(w, slice(0, None, 2))),
    ),
    "split": lambda w, a: (
        replace(a, method=lambda *g, **o: chord_attribution(*g, **o).effects),
        replace(a, method=lambda *g, **o: chord_attribution(*g, split=True, **o).effects),
    ),
    "slope cap": lambda w, a: (
        replace(a, method=lambda *g, **o: chord_attribution(*g, **o).effects),
        replace(a, method=lambda *g, **o: chord_attribution(*g, slope_cap=2.0, **o).effects),
    ),
    "BOS": lambda w, a: (a, replace(a, spliced=SplicedModel(w.model, w.saes, splice_bos=True, dtype=torch.float64))),
    "dtype": lambda w, a: (a, replace(a, spliced=SplicedModel(w.model, w.saes))),
    "sites": lambda w, a: (a, replace(a, spliced=some_sites(w, 4))),
    "SAE": lambda w, a: (a, replace(a, spliced=other_sae(w))),
}


def some_sites(world: World, count: int) -> SplicedModel:
    return SplicedModel(world.model, dict(list(world.saes.items())[:count]), dtype=torch.float64)


def other_sae(world: World) -> SplicedModel:
    site = next(iter(JUMPRELU_SITES))
    changed = replace(world.saes[site], b_dec=world.saes[site].b_dec + 1e-9)
    return SplicedModel(world.model, {**world.saes, site: changed}, dtype=torch.float64)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_input_is_never_reused(llama_world: World, tmp_path: Path, change: str) -> None:
    before, after = CHANGES[change](llama_world, Asked(llama_world.spliced))
    first, _ = before.tally(tmp_path)
    assert before.tally(tmp_path) == (0, first)
    computed, reused = after.tally(tmp_path)
    assert computed > 0
    assert reused == 0


@contextmanager
def moved(weights: Tensor) -> Iterator[None]:
    """Inside, one weight differs in its last digits."""
    kept = weights.detach().clone()
    try:
        with torch.no_grad():
            weights.flatten()[0] *= 1 + 1e-12
        yield
    finally:
        with torch.no_grad():
            weights.copy_(kept)


def test_a_weight_that_moves_while_chunks_are_kept_is_noticed(llama_world: World, tmp_path: Path) -> None:
    weights = next(p for p in llama_world.model.module.parameters() if p.ndim == 2)
    given = llama_world.spliced, TWO, logit_difference
    with kept_in(tmp_path) as store:
        attribution_patching(*given)
        with moved(weights):
            attribution_patching(*given)
        attribution_patching(*given)
    tally = store.tallies["attribution_patching"]
    assert (tally.computed, tally.reused) == (2, 1)


@pytest.mark.parametrize("change", ["code", "settings of the model", "libraries"])
def test_other_code_settings_or_libraries_compute_again(
    llama_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    asked = Asked(llama_world.spliced)
    assert asked.tally(tmp_path) == (1, 0)
    if change == "code":
        monkeypatch.setattr(chunk_key, "_digest_of_code", lambda: "other")
    elif change == "libraries":
        monkeypatch.setattr(chunk_key, "version", lambda name: f"{name} 0.0")
    else:
        monkeypatch.setattr(llama_world.model.module.cfg, "eps", 1e-3)
    assert asked.tally(tmp_path) == (1, 0)


@pytest.fixture
def a_pair_in_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_module, "CHUNK_FLOPS", 0)


@pytest.mark.usefixtures("a_pair_in_a_chunk")
def test_where_a_pair_stands_does_not_matter(llama_world: World, tmp_path: Path) -> None:
    spliced, later = llama_world.spliced, PromptPairs(PAIRS.pairs[1:])
    with kept_in(tmp_path):
        exact_patching(spliced, PAIRS, logit_difference)
    with kept_in(tmp_path) as store:
        moved_up = exact_patching(spliced, later, logit_difference)
    assert (store.tallies["exact_patching"].computed, store.tallies["exact_patching"].reused) == (0, 2)
    with kept_in(tmp_path / "other"):
        alone = exact_patching(spliced, later, logit_difference)
    assert_same_bits(alone, moved_up)


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "a flipped bit": lambda path, _: path.write_bytes(
        path.read_bytes()[:-40] + bytes([path.read_bytes()[-40] ^ 1]) + path.read_bytes()[-39:]
    ),
    "torn": lambda path, _: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path, _: path.write_bytes(b""),
    "foreign": lambda path, _: path.write_bytes(b"\x80\x04not ours"),
    "another chunk's": lambda path, other: shutil.copy(other, path),
}


@pytest.mark.usefixtures("a_pair_in_a_chunk")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_chunk_is_computed_again(llama_world: World, tmp_path: Path, damage: str) -> None:
    given = llama_world.spliced, TWO, logit_difference
    with kept_in(tmp_path):
        whole = exact_patching(*given)
    first, second = sorted(tmp_path.glob("*.chunk"))
    kept = first.read_bytes()
    DAMAGES[damage](first, second)
    with pytest.warns(UserWarning, match="computed again"), kept_in(tmp_path) as store:
        again = exact_patching(*given)
    assert (store.tallies["exact_patching"].computed, store.tallies["exact_patching"].reused) == (1, 1)
    assert_same_bits(whole, again)
    assert first.read_bytes() == kept


def test_without_reuse_everything_is_computed_and_kept_anew(llama_world: World, tmp_path: Path) -> None:
    assert Asked(llama_world.spliced).tally(tmp_path) == (1, 0)
    with kept_in(tmp_path, reuse=False) as store:
        integrated_gradients(llama_world.spliced, TWO, logit_difference)
    assert (store.tallies["integrated_gradients"].computed, store.tallies["integrated_gradients"].reused) == (1, 0)
    assert Asked(llama_world.spliced).tally(tmp_path) == (0, 1)


def test_outside_nothing_is_written(llama_world: World, tmp_path: Path) -> None:
    with kept_in(tmp_path):
        pass
    input_path_integrated_gradients(llama_world.spliced, TWO, logit_difference)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_told_from_its_name_needs_a_version_or_a_digest(llama_world: World, tmp_path: Path) -> None:
    unversioned = Metric("own", "logits", of=lambda logits, _: logits[:, 0])
    with kept_in(tmp_path):
        with pytest.raises(ValueError, match="Give it a version"):
            attribution_patching(llama_world.spliced, TWO, unversioned)
        with pytest.raises(ValueError, match=r"Give it a method digest\(\)"):
            attribution_patching(llama_world.spliced, TWO, logit_difference, patch_value=Own())
    attribution_patching(llama_world.spliced, TWO, unversioned)


def test_unfinished_files_of_killed_runs_go(tmp_path: Path) -> None:
    old, young = tmp_path / ".unfinished-old", tmp_path / ".unfinished-young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    with kept_in(tmp_path) as store:
        assert isinstance(store, ChunkStore)
    assert not old.exists()
    assert young.exists()


def test_a_long_chunk_survives_in_parts(llama_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, one = (llama_world.spliced, PAIRS.head(1), logit_difference), "runs_in_cones"
    with kept_in(tmp_path / "whole"):
        whole = exact_patching(*given)
    calls: list[Any] = []
    measured = getattr(exact_module, one)

    def stopped(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measured(*arguments, **options)

    monkeypatch.setattr(exact_module, "LONG_CHUNK_FLOPS", 0)
    monkeypatch.setattr(exact_module, one, stopped)
    with pytest.raises(KeyboardInterrupt), kept_in(tmp_path):
        exact_patching(*given)
    assert len(list(tmp_path.glob("*.part"))) == 2
    with kept_in(tmp_path) as store:
        resumed = exact_patching(*given)
    tally = store.tallies["exact_patching"]
    assert (tally.computed, tally.reused, tally.parts_reused) == (1, 0, 2)
    assert_same_bits(whole, resumed)
    assert [path.suffix for path in tmp_path.iterdir() if path.is_file()] == [".chunk"]


def test_a_chunk_counts_once_its_file_is_there_though_an_interrupt_comes_before_the_write_returns(
    llama_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = chunk_store.write_chunk

    def interrupted(*given: Any) -> None:
        write(*given)
        raise KeyboardInterrupt

    for _ in range(2):  # the second time over the file of the first
        monkeypatch.setattr(chunk_store, "write_chunk", interrupted)
        with kept_in(tmp_path, reuse=False) as store, pytest.raises(KeyboardInterrupt):
            attribution_patching(llama_world.spliced, PAIRS, logit_difference)
        assert store.chunks == 1
        assert store.rows_computed > 0
