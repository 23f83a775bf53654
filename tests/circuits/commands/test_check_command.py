"""`jumpwire check`, run as a user runs it: on the embedded model."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from attribution.methods.registry import METHODS
from circuits import commands
from circuits.commands import app as cli
from circuits.commands.app import app
from circuits.commands.check import FAIL_ON
from circuits.commands.shared.inputs import Inputs
from circuits.tasks.templates import text_pairs
from graphs import load_verdict

QUICK = ("--saes", "prolu", "--examples", "2")
FEW = ("--other-examples", "0", "--nodes", "12", "--no-labels")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def estimate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of find with AtP in frozen mode."""
    folder = tmp_path_factory.mktemp("atp")
    result = run("find", *QUICK, *FEW, "--method", "atp", "--error", "frozen", "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


def test_help_names_everything_there_is_to_choose() -> None:
    shown = " ".join(run("check", "--help").output.replace("│", " ").split())
    for name in (*FAIL_ON[1:], "atp", "ig", "chord-ig", "--verify", "--threshold", "--fail-on"):
        assert name in shown


def test_a_run_of_find_is_checked_as_it_is_and_its_files_lie_beside_it(estimate: Path) -> None:
    result = run("check", estimate, "--explained", "2")
    assert result.exit_code == 0, result.output
    verdict = load_verdict(estimate / "verdict.json")
    assert verdict.method == "attribution_patching"
    assert verdict.error_mode == verdict.exact_error_mode == "frozen"
    assert 0 < verdict.verified == verdict.nodes - len(verdict.undecided)
    assert verdict.sentence.split(";")[0] in " ".join(result.output.split())
    assert sum(v.parts is not None for v in verdict.flagged) == 2
    for flagged in verdict.flagged[:2]:
        assert flagged.parts is not None
        assert sum(flagged.parts.values()) == pytest.approx(flagged.error, rel=2e-3)
    page = (estimate / "verdict.html").read_text(encoding="utf-8")
    assert "<script src=" not in page
    assert {curve.method for curve in verdict.residuals} == {"IG", "chord IG"}
    assert all(len(trace.alpha) == len(trace.slope) for trace in verdict.traces)


@pytest.mark.slow
def test_an_exact_run_is_the_truth_for_an_estimate_made_beside_it(tmp_path: Path) -> None:
    assert run("find", *QUICK, *FEW, "--error", "frozen", "--out", tmp_path).exit_code == 0
    result = run("check", tmp_path, "--method", "ig-input", "--points", "5", "--explained", "0")
    assert result.exit_code == 0, result.output
    verdict = load_verdict(tmp_path / "verdict.json")
    assert (verdict.error_mode, verdict.exact_error_mode) == ("path", "frozen")
    assert verdict.settings["points"] == 5
    assert "input-path IG (5 points)" in verdict.sentence


def test_verifying_some_gives_a_bound_on_what_was_not_checked(tmp_path: Path) -> None:
    result = run("check", *QUICK, "--method", "atp", "--verify", "120", "--explained", "0", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    verdict = load_verdict(tmp_path / "verdict.json")
    assert verdict.bound is not None
    assert verdict.verified == 120
    assert verdict.bound.unverified == verdict.nodes - 120
    assert "of unverified nodes exceed" in " ".join(result.output.split())


def test_exit_code_is_1_only_for_flags_that_were_named(estimate: Path, tmp_path: Path) -> None:
    verdict = load_verdict(estimate / "verdict.json")
    found = {v.flag for v in verdict.flagged}
    absent = next((flag for flag in ("phantom", "sign_flip") if flag not in found), None)
    for named in ("any", absent):
        if named is not None:
            result = run("check", estimate, "--explained", "0", "--fail-on", named, "--out", tmp_path)
            assert result.exit_code == (1 if named == "any" else 0), result.output
    assert verdict.flagged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "exact"], "No method 'exact'. Choose one of: atp"),
        (["--fail-on", "error"], "No fail-on 'error'. Choose one of: never, any"),
        (["--metric", "loss"], "No metric 'loss'"),
        (["nowhere"], "no run.json"),
        (["--method", "activation-difference"], "No method 'activation-difference'"),
        (["--method", "atp", "--points", "5"], "atp has no path; points and rule belong to ig, ig-input, chord-ig"),
        (["--method", "ig", "--rule", "left"], "No rule 'left'. Choose one of: midpoint"),
        (["--threshold", "-1"], "threshold must be positive"),
        (["--method", "chord-ig", "--patch", "zero"], "Give --method ig, or --patch counterfactual"),
        (["--error", "path"], "--method ig has no --error path"),
        (["--method", "atp", "--metric", "kl_divergence"], "Give --method ig, or another --metric"),
    ],
)
def test_wrong_arguments_end_with_a_sentence_and_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Inputs] = []
    monkeypatch.setattr(Inputs, "load_spliced", loaded.append)
    result = run("check", *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert loaded == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "closing"], "checked on its own prompts"),
        (["--method", "ig"], "is checked as it is"),
        (["--error", "live"], "has its own error mode"),
    ],
)
def test_what_a_run_has_fixed_cannot_be_given_again(arguments: list[str], message: str, estimate: Path) -> None:
    result = run("check", estimate, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_changed_sae_is_found_out(estimate: Path, tmp_path: Path) -> None:
    content = json.loads((estimate / "run.json").read_text())
    content["hashes"]["saes"][next(iter(content["hashes"]["saes"]))] = "0" * 64
    for name in ("effects.parquet", "circuit.json"):
        (tmp_path / name).write_bytes((estimate / name).read_bytes())
    (tmp_path / "run.json").write_text(json.dumps(content))
    result = run("check", tmp_path)
    assert result.exit_code == 2
    assert "the prompts have changed since" in " ".join(result.output.split())


def test_edited_prompts_are_found_out(tmp_path: Path) -> None:
    pairs = {"clean": "the wolf near the barn", "patch": "the wolves near the barn", "answer": "is", "wrong": "are"}
    file, folder = tmp_path / "mine.json", tmp_path / "run"
    file.write_text(json.dumps({"pairs": [pairs]}))
    arguments = ("--pairs", file, "--saes", "prolu", "--method", "atp", "--error", "frozen", "--no-labels")
    arguments += ("--out", folder)
    assert run("find", *arguments).exit_code == 0
    file.write_text(
        json.dumps({"pairs": [{**pairs, "clean": "the fox near the barn", "patch": "the foxes near the barn"}]})
    )
    result = run("check", folder)
    assert result.exit_code == 2
    assert "the prompts have changed since" in " ".join(result.output.split())


def test_a_bug_does_not_end_with_the_exit_code_of_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(commands, "handle_ctrl_c", lambda _: None)  # the tests' own stays
    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 70


def test_every_method_but_exact_can_be_asked_for() -> None:
    shown = " ".join(run("check", "--help").output.replace("│", " ").split())
    assert all(name in shown for name in METHODS if name not in ("exact", "activation-difference"))


@pytest.mark.slow
@pytest.mark.parametrize("judged_by", ["a part of the file", "another file"])
def test_a_run_on_a_file_that_was_cut_is_checked_on_the_pairs_that_found_its_circuit(
    judged_by: str, tmp_path: Path
) -> None:
    rows = [asdict(text) for split in ("train", "held_out") for text in text_pairs("agreement", split, 32, 0)]
    wanted = {"clean", "patch", "answer", "wrong"}
    for name, own in (("pairs", rows[:32]), ("others", rows[32:])):
        content = {"pairs": [{key: row[key] for key in wanted} for row in own]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    given = ("--saes", "topk", "--pairs", tmp_path / "pairs.json", "--nodes", "10", "--no-labels", "--explained", "0")
    judge = () if judged_by == "a part of the file" else ("--held-out", tmp_path / "others.json")
    result = run("find", *given, *judge, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    result = run("check", tmp_path / "run", "--explained", "0")
    assert result.exit_code == 0, result.output
    found = load_verdict(tmp_path / "run" / "verdict.json")
    assert found.examples == (16 if judge == () else 24)
    assert found.verified == found.nodes
