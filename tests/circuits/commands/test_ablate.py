"""`jumpwire ablate`, run as a user runs it, on the embedded model."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from circuits import load_model, prompt_pairs
from circuits.ablation.operation_names import OPERATIONS, parse_operation
from circuits.commands.app import app
from circuits.commands.shared.earlier_run import CircuitFile
from circuits.commands.shared.inputs import Inputs
from circuits.commands.shared.options import PATCH_NAMES

NODE = "blocks.2.hook_resid_post/368"
GENERAL = "the barn near the beach was big .\nthe doctor was busy ."


def jumpwire(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A circuit by exact patching, and a file of general text beside it."""
    folder = tmp_path_factory.mktemp("run")
    few = ("--examples", "2", "--nodes", "12", "--other-examples", "0", "--no-labels")
    result = jumpwire("find", "--saes", "topk", *few, "--out", folder)
    assert result.exit_code == 0, result.output
    (folder / "general.txt").write_text(GENERAL)
    return folder


def ablate(run: Path, out: Path, *arguments: str | Path) -> tuple[str, dict[str, Any]]:
    """What is printed, on one line, and ablation.json."""
    result = jumpwire("ablate", *arguments, "--text-file", run / "general.txt", "--out", out)
    assert result.exit_code == 0, result.output
    content = json.loads((out / "ablation.json").read_text(encoding="utf-8"))
    assert content["schema"] == "jumpwire.ablation"
    return " ".join(result.output.split()), content


def test_a_feature_is_removed_and_everything_that_changed_is_printed(run: Path, tmp_path: Path) -> None:
    printed, content = ablate(run, tmp_path, f"{NODE}@subject", "--examples", "2", "--per-pair")
    assert content["nodes"] == [f"{NODE}@subject"]
    metric = content["metric"]
    mean = [sum(metric[when]) / 2 for when in ("before", "after")]
    assert f"logit_difference {mean[0]:+.3f} → {mean[1]:+.3f} change {mean[1] - mean[0]:+.3f} logits" in printed
    assert all(f"{value:+.4f}" in printed for value in (*metric["before"], *metric["after"]))
    token, feature, side = content["tokens"][0], content["features"][0], content["side_effect"]
    assert f"{token['text']} {token['before']:.1%} {token['after']:.1%}" in printed
    assert f"{feature['name']} {feature['before']:.2f} → {feature['after']:.2f} {feature['prompts']}" in printed
    assert f"CE {side['cross_entropy_before']:.3f} → {side['cross_entropy_after']:.3f}" in printed
    assert side["documents"] == 2
    assert content["generated"] is None


def test_a_text_is_steered_and_generated_before_and_after(run: Path, tmp_path: Path) -> None:
    arguments = ("--text", "the doctors near the cake", "--op", "add=60", "--generate", "3", NODE)
    printed, content = ablate(run, tmp_path, *arguments)
    found = content["generated"]
    assert found["prompt"] == "the doctors near the cake"
    assert f"before the doctors near the cake {found['before']}" in printed
    assert f"after the doctors near the cake {found['after']}" in printed
    assert found["before"].split()[0] == content["likeliest"]["before"][0]
    assert content["patch_value"] == "zero"
    assert (tmp_path / "ablation.json").read_bytes()
    again, same = ablate(run, tmp_path, *arguments)
    assert (again, same) == (printed, content)


def test_a_circuit_is_kept_on_the_prompts_and_saes_it_was_found_on(run: Path, tmp_path: Path) -> None:
    printed, content = ablate(run, tmp_path, "--circuit", run / "circuit.json", "--op", "keep-only")
    assert "keep-only on 11 node(s), to counterfactual values, live errors, 2 prompt(s)" in printed  # the token is left
    assert content["arguments"]["saes"] == "topk"
    assert not any(name.startswith("token") for name in content["nodes"])
    assert "to 0: no patch prompt there" in printed


def test_a_circuit_is_tested_by_knocking_out_its_nodes(run: Path, tmp_path: Path) -> None:
    result = jumpwire("ablate", "--circuit", run, "--test", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "causal_test.json").read_text(encoding="utf-8"))["causal_test"]
    assert len(content["nodes"]) == 12
    assert content["largest_difference"] < 1e-5 * abs(content["total_effect"])
    assert "Pearson 1.000000 Spearman 1.000000" in " ".join(result.output.split())


def test_a_test_says_whether_the_pairs_found_the_circuit(run: Path, tmp_path: Path) -> None:
    """The first of the run's two pairs, a held-out pair, and both kinds at once."""
    first, held_out = (prompt_pairs("agreement", load_model(), split=s, examples=1) for s in ("train", "held_out"))
    rows = [
        {"clean_ids": p.clean_ids, "patch_ids": p.patch_ids, "answer_id": p.answer_id, "wrong_id": p.foil_id}
        | {"roles": p.roles}
        for p in (*first, *held_out)
    ]
    other, check = "that did not find the circuit: a test on other prompts", "that found the circuit: a check"
    for chosen, words in ((rows[:1], [check]), (rows[1:], [other]), (rows, [check, other])):
        (tmp_path / "pairs.json").write_text(json.dumps(chosen))
        arguments = ("ablate", "--circuit", run, "--test", "--pairs", tmp_path / "pairs.json", "--out", tmp_path)
        result = jumpwire(*arguments)
        assert result.exit_code == 0, result.output
        printed = " ".join(result.output.split())
        assert [kind in printed for kind in (check, other)] == [check in words, other in words]
        content = json.loads((tmp_path / "causal_test.json").read_text(encoding="utf-8"))
        assert content["causal_test"]["own_pairs"] is (words[0] == check)
        assert ("causal_test_on_other_pairs" in content) is (len(words) == 2)
        if words[0] == check:
            assert content["causal_test"]["pairs"] == 1
            assert content["causal_test"]["largest_difference"] < 1e-5 * abs(content["causal_test"]["total_effect"])


def test_a_circuit_of_a_file_that_was_cut_is_tested_on_the_pairs_that_found_it(tmp_path: Path) -> None:
    pairs = prompt_pairs("agreement", load_model(), examples=8)
    rows = [
        {"clean_ids": p.clean_ids, "patch_ids": p.patch_ids, "answer_id": p.answer_id, "wrong_id": p.foil_id}
        for p in pairs
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    few = ("--nodes", "6", "--other-examples", "0", "--no-labels", "--positions", "offset", "--sites", "attn_out")
    cut = ("--validation", "0", "--test", "0.25", "--explained", "0", "--resamples", "0")
    result = jumpwire("find", "--pairs", tmp_path / "pairs.json", *few, *cut, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    tested = jumpwire("ablate", "--circuit", tmp_path / "run", "--test")
    assert tested.exit_code == 0, tested.output
    assert "6 pair(s)" in tested.output
    found = json.loads((tmp_path / "run" / "causal_test.json").read_text())["causal_test"]
    assert {len(node["per_pair"]) for node in found["nodes"]} == {6}
    assert found["largest_difference"] < 1e-4


def test_another_model_without_general_text_says_that_the_side_effect_was_not_measured(tmp_path: Path) -> None:
    embedded = Path(__file__).resolve().parents[3] / "circuits" / "embedded"
    options = ("--model", embedded / "model", "--saes", embedded / "saes" / "topk", "--out", tmp_path)
    result = jumpwire("ablate", "blocks.3.hook_resid_post/error", "--op", "scale=0", "--text", "the doctors", *options)
    assert result.exit_code == 0, result.output
    assert "Side effect not measured: give general text with --text-file" in " ".join(result.output.split())
    assert json.loads((tmp_path / "ablation.json").read_text())["side_effect"] is None


def test_the_choice_of_the_user_wins_over_that_of_the_run(run: Path) -> None:
    found = CircuitFile.read(str(run))
    assert found.completed(Inputs()) == Inputs(examples=2, saes="topk")
    assert found.completed(Inputs(split="held_out")) == Inputs(split="held_out", examples=2, saes="topk")
    assert found.completed(Inputs(task="pronoun")) == Inputs(task="pronoun", saes="topk")


def test_operations_are_read_with_their_numbers() -> None:
    assert parse_operation("scale=-0.5").label == "scale=-0.5"
    for text in ("add", "add=", "add=x", "add=nan", "set=inf", "remove=2", "drop"):
        with pytest.raises(ValueError, match="Choose one of: remove, keep-only, set=V"):
            parse_operation(text)


def test_help_names_everything_there_is_to_choose() -> None:
    shown = " ".join(jumpwire("ablate", "--help").output.replace("│", " ").split())
    for name in (*OPERATIONS, *PATCH_NAMES, "live", "frozen", "zero"):
        assert name in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name nodes"),
        ([NODE, "--circuit", "c.json"], "Name nodes"),
        (["--circuit", "missing.json"], "no such file"),
        ([NODE, "--op", "double"], "No operation 'double'"),
        ([NODE, "--error", "path"], "Choose one of: live, frozen, zero"),
        ([NODE, "--metric", "loss"], "No metric 'loss'"),
        ([NODE, "--test"], "--test knocks out the nodes of --circuit"),
        ([NODE, "--text", "the cake", "--task", "agreement"], "--text is the only prompt"),
        ([NODE, "--text", "the cake", "--patch", "counterfactual"], "has no patch prompt"),
        ([NODE, "--text", "the xyzzy"], "does not know 'xyzzy'"),
        ([NODE, "--temperature", "1"], "--temperature belongs to --generate"),
        ([NODE, "--text-file", "missing.txt"], "no such file"),
        (["blocks.2.hook_resid_pots/3"], "Near matches"),
        (["token@subject", "--op", "scale=2"], "a token can only be removed"),
        ([f"{NODE}@nowhere"], "no prompt has that position"),
        (["blocks.2.hook_resid_post/117@subject"], "would change nothing"),
    ],
)
def test_wrong_arguments_end_with_a_sentence_and_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = jumpwire("ablate", *arguments, "--out", tmp_path / "never")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert list(tmp_path.glob("never/*")) == []


def test_a_circuit_of_other_saes_is_refused(run: Path, tmp_path: Path) -> None:
    result = jumpwire("ablate", "--circuit", run, "--saes", "relu", "--out", tmp_path)
    assert result.exit_code == 2
    assert "its features mean nothing here" in " ".join(result.output.split())
