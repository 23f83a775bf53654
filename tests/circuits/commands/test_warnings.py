"""Warnings on the command line: printed once, kept in the files, and not there where nothing is the matter."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from circuits import load_model, prompt_pairs
from circuits.commands.app import app
from circuits.embedded.load import MODEL_FOLDER, SAES_FOLDER
from circuits.ranking.ranking_file import read_ranking
from graphs import load_circuit, load_verdict

FEW = ("--method", "atp", "--nodes", "6", "--no-labels", "--explained", "0", "--resamples", "0", "--saes", "topk")
SITES = ("--sites", "blocks.2.hook_resid_post")


def jumpwire(*arguments: str | Path) -> str:
    """What a command that succeeds prints, on one line."""
    result: Result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def kinds(warnings: Any) -> list[str]:
    return [warning["kind"] for warning in warnings]


def rows(split: str, count: int) -> list[dict[str, Any]]:
    return [
        {"clean_ids": p.clean_ids, "patch_ids": p.patch_ids, "answer_id": p.answer_id, "wrong_id": p.foil_id}
        for p in prompt_pairs("agreement", load_model(), split=split, examples=count)
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 12 pairs, one of 12 others, one of 11 of which one occurs twice, and SAEs that name another model."""
    folder = tmp_path_factory.mktemp("files")
    own, other = rows("train", 12), rows("held_out", 12)
    for name, content in (("own", own), ("other", other), ("twice", [*own[:11], own[0]]), ("mixed", own[:3] + other)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    shutil.copytree(SAES_FOLDER / "topk" / "blocks.2.hook_resid_post", folder / "saes")
    config = json.loads((folder / "saes" / "cfg.json").read_text())
    config["metadata"]["model_name"] = "pythia-70m"
    (folder / "saes" / "cfg.json").write_text(json.dumps(config))
    return folder


def test_a_run_without_faults_has_no_warnings(files: Path, tmp_path: Path) -> None:
    cut = ("--held-out", files / "other.json", "--validation", "0")
    printed = jumpwire("find", "--pairs", files / "own.json", *cut, *FEW, "--out", tmp_path)
    assert "warning" not in printed
    assert json.loads((tmp_path / "run.json").read_text())["warnings"] == []


def test_find_keeps_its_warnings_in_run_circuit_and_page(files: Path, tmp_path: Path) -> None:
    cut = ("--held-out", files / "mixed.json", "--validation", "0")
    printed = jumpwire("find", "--pairs", files / "twice.json", *cut, *FEW, "--out", tmp_path)
    assert printed.count("3 of the 15 mixed pairs also found the circuit") == 1
    assert printed.count("Only 11 of the 12 training pairs are different; one occurs 2 times.") == 1
    kept = json.loads((tmp_path / "run.json").read_text())["warnings"]
    assert kinds(kept) == ["shared_pairs", "repeated_pairs"]
    certificate = load_circuit(tmp_path / "circuit.json").certificate
    assert certificate is not None
    assert [c.sentence for c in certificate.warnings] == [warning["sentence"] for warning in kept]


def test_check_rank_labels_and_ablate_say_that_the_dictionary_is_of_another_model(files: Path, tmp_path: Path) -> None:
    model = ("--model", MODEL_FOLDER, "--saes", files / "saes")
    pairs = ("--pairs", files / "twice.json")
    said = "1 SAE was trained on the model 'pythia-70m', says cfg.json"
    assert jumpwire("check", *model, *pairs, "--out", tmp_path / "check").count(said) == 1
    verdict = load_verdict(tmp_path / "check" / "verdict.json")
    assert [c.kind for c in verdict.warnings] == ["repeated_pairs", "other_model"]
    assert said in (tmp_path / "check" / "verdict.html").read_text(encoding="utf-8").replace("&#x27;", "'")
    assert jumpwire("rank", *model, *pairs, "--method", "atp", "--out", tmp_path / "r.parquet").count(said) == 1
    assert [c.kind for c in read_ranking(tmp_path / "r.parquet").warnings] == ["repeated_pairs", "other_model"]
    (tmp_path / "text.txt").write_text("the barn near the beach was big .\n" * 3)
    node = "blocks.2.hook_resid_post/3"
    text = ("--corpus", tmp_path / "text.txt", "--out", tmp_path / "labels.json", "--cache", tmp_path / "cache")
    assert jumpwire("labels", node, *model, *text).count(said) == 1
    node = "blocks.2.hook_resid_post/error"
    ablated = jumpwire("ablate", f"{node}@-1", f"{node}@-1", *model, *pairs, "--out", tmp_path / "ablate")
    assert ablated.count(said) == ablated.count(f"{node}@-1 is named twice; it counts once.") == 1
    content = json.loads((tmp_path / "ablate" / "ablation.json").read_text())
    assert kinds(content["warnings"]) == ["node_named_twice", "repeated_pairs", "other_model"]


def test_a_test_on_other_pairs_says_which_of_them_found_the_circuit(files: Path, tmp_path: Path) -> None:
    whole = ("--validation", "0", "--test", "0")
    jumpwire("find", "--pairs", files / "own.json", *whole, *FEW, *SITES, "--out", tmp_path)
    assert "warning" not in jumpwire("ablate", "--circuit", tmp_path, "--test")
    printed = jumpwire("ablate", "--circuit", tmp_path, "--test", "--pairs", files / "mixed.json")
    assert printed.count("3 pair(s) that found the circuit: a check of the graph") == 1
    assert printed.count("12 pair(s) that did not find the circuit: a test on other prompts") == 1
    (files / "own.json").write_text(json.dumps(rows("train", 13)))
    assert "warning" not in jumpwire("ablate", "--circuit", tmp_path, "--test", "--pairs", files / "mixed.json")
