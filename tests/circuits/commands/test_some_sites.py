"""`--from-layer` and `--sites`, end to end: what `find` kept of them is what other commands load again."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from circuits.commands.app import app
from circuits.commands.shared.earlier_run import CircuitFile
from circuits.commands.shared.inputs import Inputs
from graphs import load_circuit

FEW = ("--method", "atp", "--examples", "3", "--nodes", "20", "--other-examples", "4", "--no-labels")
CHOSEN = ("--sites", "resid_post, blocks.*.hook_attn_out", "--from-layer", "2")


def jumpwire(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("run")
    return folder, jumpwire("find", *FEW, *CHOSEN, "--out", folder)


def test_find_tries_the_sites_before_it_searches_and_keeps_what_it_found(found: tuple[Path, str]) -> None:
    folder, printed = found
    certificate = load_circuit(folder / "circuit.json").certificate
    assert certificate is not None
    assert certificate.trial is not None
    assert [tried.kind for tried in certificate.trial.kinds] == ["attn_out", "resid_post"]
    assert "All nodes that the training pairs know, on " in printed
    assert printed.index("at one kind of site: attn_out") < printed.index("agreement on embedded, layers below 2 kept")
    assert [f.split for f in certificate.alone] == [f.split for f in certificate.faithfulness]


def test_one_kind_of_site_needs_no_trial(tmp_path: Path) -> None:
    printed = jumpwire("find", *FEW, "--sites", "resid_post", "--out", tmp_path)
    certificate = load_circuit(tmp_path / "circuit.json").certificate
    assert certificate is not None
    assert certificate.trial is None
    assert certificate.alone == ()
    assert "at one kind of site" not in printed


def test_the_same_splice_is_loaded_again_from_a_run(found: tuple[Path, str]) -> None:
    folder, _ = found
    inputs = CircuitFile.read(str(folder)).completed(Inputs())
    assert (inputs.sites, inputs.from_layer) == (CHOSEN[1], 2)
    spliced = inputs.load_spliced()
    assert spliced.sites == load_circuit(folder / "circuit.json").sites
    assert (spliced.boundary, len(spliced.whole.sites)) == (2, 8)


def test_keeping_only_the_circuit_prints_f_with_the_layers_below_and_without(found: tuple[Path, str]) -> None:
    folder, _ = found
    printed = jumpwire("ablate", "--circuit", folder, "--op", "keep-only", "--out", folder / "kept")
    content = json.loads((folder / "kept" / "ablation.json").read_text(encoding="utf-8"))
    certificate = load_circuit(folder / "circuit.json").certificate
    assert certificate is not None
    own = next(f for f in certificate.faithfulness if f.split == "own")
    alone = next(f for f in certificate.alone if f.split == "own")
    assert content["from_layer"] == 2
    assert content["faithfulness"] == pytest.approx(own.faithfulness, abs=1e-4)
    assert content["faithfulness_alone"] == pytest.approx(alone.faithfulness, abs=1e-4)
    assert (
        f"layers below 2 kept as they are; with them at their patch value too, F = {alone.faithfulness:.2f}" in printed
    )


def test_a_run_is_checked_and_exported_with_its_own_sites(found: tuple[Path, str]) -> None:
    folder, _ = found
    printed = jumpwire("check", folder, "--verify", "5", "--explained", "0", "--out", folder / "check")
    assert "agreement on embedded, layers below 2 kept as they are" in printed
    jumpwire("export", folder, "--neuronpedia", folder / "graph.json")
    assert "Layers below 2 kept as they are." in (folder / "graph.json").read_text(encoding="utf-8")


def test_a_ranking_is_made_at_the_chosen_sites_and_says_so(tmp_path: Path) -> None:
    few = ("--method", "atp", "--examples", "2", "--rows", "40", "--out", tmp_path / "r.parquet")
    printed = jumpwire("rank", *few, *CHOSEN)
    assert "agreement: layers below 2 kept as they are" in printed
    assert "L2 resid_post" in printed
    assert "mlp_out" not in printed
    assert "L1 " not in printed


def test_a_run_of_before_these_options_is_still_loaded(found: tuple[Path, str]) -> None:
    arguments = json.loads((found[0] / "run.json").read_text(encoding="utf-8"))["arguments"]
    del arguments["sites"], arguments["from_layer"]
    inputs = Inputs.from_arguments(arguments)
    assert (inputs.sites, inputs.from_layer) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sites", "resid"), "called 'resid'. There are: attn_out, mlp_out, resid_post, each a kind; blocks.0."),
        (("--sites", " ,"), "--sites names no site"),
        (("--from-layer", "0"), "From layer 0: no SAE lies below, so nothing would change"),
        (("--from-layer", "4"), "From layer 4: no SAE lies there or above. SAEs are spliced in at layers 0, 1, 2, 3"),
    ],
)
def test_sites_that_are_not_there_end_with_a_sentence(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["find", *arguments, "--out", str(tmp_path / "never")])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
