"""Pairs that are no number in `find` and `rank`: the command ends before long work and names them, or leaves them out.

Also `--layers`: the weights of SAEs in other layers are not read.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from attribution.dictionaries import JumpReLU, save_sae
from attribution.effects.effects import Effects
from circuits.commands.app import app
from circuits.ranking.ranking_file import read_ranking
from circuits.terminal.layer_ranges import layers_of
from tests.worlds.tiny_models import BOS, activations, bridge, fitting_sae, save_hugging_face_folder

DAMAGED = 21
"""Prompts with this token have no finite metric."""
METRIC = f"""
def gap(logits, batch):
    bad = (batch.clean_ids == {DAMAGED}).any(1)
    return (logits[:, 4] - logits[:, 7]).masked_fill(bad, float("nan"))
"""
SITES = ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")
GOOD = {"clean_ids": [BOS, 5, 9, 3], "patch_ids": [BOS, 5, 12, 3], "answer_id": 4, "wrong_id": 7}
OTHER = GOOD | {"clean_ids": [BOS, 6, 9, 3], "patch_ids": [BOS, 6, 13, 3]}
BAD = GOOD | {"clean_ids": [BOS, 5, DAMAGED, 3]}
FEW = ("--nodes", "5", "--no-labels", "--validation", "0", "--test", "0", "--resamples", "0", "--explained", "0")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, SAEs, a metric, and pairs of which two have no finite metric."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "bad_pairs_metric.py").write_text(METRIC)
    save_hugging_face_folder(folder / "model", "llama")
    model = bridge("llama")
    seen = activations(model, SITES)
    for site in SITES:
        save_sae(fitting_sae(JumpReLU, seen[site], site).to(dtype=torch.float32), folder / "saes" / site)
    for name, rows in {"bad": [GOOD, BAD, OTHER, BAD], "good": [GOOD, OTHER], "all_bad": [BAD]}.items():
        (folder / f"{name}.json").write_text(json.dumps({"pairs": rows}))
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(autouse=True)
def in_the_world(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)


def jumpwire(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, " ".join(result.output.split())


def inputs(world: Path, pairs: str) -> tuple[str | Path, ...]:
    return (
        "--model",
        world / "model",
        "--saes",
        world / "saes",
        "--pairs",
        world / pairs,
        "--metric",
        "bad_pairs_metric:gap",
    )


@pytest.mark.parametrize("method", ["exact", "atp", "auto"])
def test_find_names_the_bad_pairs_and_writes_nothing(method: str, world: Path, tmp_path: Path) -> None:
    code, said = jumpwire("find", *inputs(world, "bad.json"), *FEW, "--method", method, "--out", tmp_path)
    assert code == 2
    assert (
        "Pair 1: bad_pairs_metric:gap is nan on the clean prompt. So are pairs 3. Leave such pairs out (--skip-bad"
        in said
    )
    assert not list(tmp_path.iterdir())


def test_find_names_the_bad_pairs_of_the_file_that_judges(world: Path, tmp_path: Path) -> None:
    held_out = shutil.copy(world / "bad.json", tmp_path / "others.json")
    code, said = jumpwire(
        "find",
        *inputs(world, "good.json"),
        *FEW,
        "--held-out",
        held_out,
        "--method",
        "exact",
        "--out",
        tmp_path / "run",
    )
    assert code == 2
    assert "Pairs of 'others', which judge the circuit: Pair 1: bad_pairs_metric:gap is nan" in said


def test_find_without_the_bad_pairs_equals_that_of_the_good_ones(world: Path, tmp_path: Path) -> None:
    how = (*FEW, "--method", "exact")
    code, said = jumpwire("find", *inputs(world, "bad.json"), "--skip-bad-pairs", *how, "--out", tmp_path / "bad")
    assert code == 0, said
    assert "Left out, because the metric is not finite: pair 1: nan on the clean prompt; pair 3: nan" in said
    ran = json.loads((tmp_path / "bad" / "run.json").read_text())
    assert ran["left_out"] == {"1": "nan on the clean prompt", "3": "nan on the clean prompt"}
    assert jumpwire("find", *inputs(world, "good.json"), *how, "--out", tmp_path / "good")[0] == 0
    found, expected = (Effects.read_parquet(tmp_path / name / "effects.parquet") for name in ("bad", "good"))
    np.testing.assert_array_equal(found.keys(), expected.keys())
    np.testing.assert_allclose(found.effect, expected.effect, atol=1e-6)
    own = "--metric", "bad_pairs_metric:gap"
    code, said = jumpwire("check", tmp_path / "bad", *own, "--explained", "0", "--out", tmp_path / "check")
    assert code == 0, said


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_rank_names_the_bad_pairs_or_leaves_them_out(kind: str, world: Path, tmp_path: Path) -> None:
    how = ("rank", *inputs(world, f"bad.{kind}"), "--method", "atp", "--at-once", "2", "--out", tmp_path / "r.parquet")
    code, said = jumpwire(*how)
    assert (code, (tmp_path / "r.parquet").exists()) == (2, False)
    assert "Pair 1: bad_pairs_metric:gap is nan on the clean prompt" in said
    code, said = jumpwire(*how, "--skip-bad-pairs")
    assert code == 0, said
    assert "Left out, because the metric is not finite: pair 1" in said
    found = read_ranking(tmp_path / "r.parquet")
    assert (found.examples, set(found.left_out)) == (2, {1, 3})
    assert all(np.isfinite(w.effect) for w in found.ranking.nodes)


def test_no_pair_left_is_an_error(world: Path, tmp_path: Path) -> None:
    for command in ("find", "rank"):
        code, said = jumpwire(command, *inputs(world, "all_bad.json"), "--skip-bad-pairs", "--out", tmp_path / command)
        assert code == 2
        assert "not finite" in said


def test_saes_of_other_layers_are_not_read(world: Path, tmp_path: Path) -> None:
    saes = tmp_path / "saes"
    shutil.copytree(world / "saes", saes)
    (saes / SITES[0] / "sae_weights.safetensors").write_bytes(b"not read")
    given = ("--model", world / "model", "--saes", saes, "--pairs", world / "good.json", "--method", "atp")
    for number, chosen in enumerate((("--layers", "1-3"), ("--sites", "blocks.[1-3].*mlp_out"))):
        out = tmp_path / f"{number}.parquet"
        code, said = jumpwire("rank", *given, *chosen, "--out", out)
        assert code == 0, said
        assert read_ranking(out).ranking.sites == (SITES[1],)
    code, said = jumpwire("rank", *given, "--layers", "2-3", "--out", tmp_path / "none.parquet")
    assert code == 2
    assert "No SAE lies in layers 2, 3. There are SAEs in layers 0, 1." in said


def test_layers_are_written_one_by_one_or_as_ranges() -> None:
    assert layers_of("3") == (3,)
    assert layers_of("2-4, 0,3") == (0, 2, 3, 4)
    for wrong in ("", "a", "4-2", "1-", "-1", "1..3"):
        with pytest.raises(ValueError, match=f"--layers {wrong}: write a layer"):
            layers_of(wrong)
