"""A stream of pairs gives what all pairs at once give, reads no further than it must, and remembers where nodes act."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.registry import METHODS
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import kl_divergence, log_probability, logit_difference
from attribution.prompts.pair_stream import count_pairs, pair_stream
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs import memory
from attribution.runs.memory import Room
from attribution.splice.spliced_model import SplicedModel
from circuits.commands.app import app
from circuits.commands.shared.inputs import Inputs
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.ranking import question
from circuits.ranking.aggregate import rank_nodes
from circuits.ranking.dataset import FROM_THE_END, ROLES, TOGETHER, DatasetRanking, rank
from circuits.ranking.ranking_file import read_ranking, write_ranking
from circuits.tasks.prompts import task_pairs
from graphs import FeatureNode


@pytest.fixture(scope="module")
def spliced() -> SplicedModel:
    return SplicedModel(embedded_model(), embedded_saes("relu"))


@pytest.fixture(scope="module")
def pairs(spliced: SplicedModel) -> PromptPairs:
    """Nine pairs of several templates, so of unequal lengths and with different roles."""
    return task_pairs("agreement", "train", 9, 3, spliced.model)


def atp(spliced: SplicedModel, pairs: PromptPairs) -> Effects:
    return attribution_patching(spliced, pairs, logit_difference)


@pytest.fixture(scope="module")
def whole(spliced: SplicedModel, pairs: PromptPairs) -> Effects:
    return atp(spliced, pairs)


def streamed(spliced: SplicedModel, pairs: PromptPairs, at_once: int, together: bool = False) -> DatasetRanking:
    return rank(iter(pairs), spliced.model, partial(atp, spliced), at_once=at_once, together=together)


@pytest.mark.parametrize("at_once", [1, 4, 9])
def test_a_stream_is_averaged_as_all_pairs_at_once_are(
    spliced: SplicedModel, pairs: PromptPairs, whole: Effects, at_once: int
) -> None:
    assert len({len(pair) for pair in pairs}) > 1
    found, expected = streamed(spliced, pairs, at_once), rank_nodes(whole, pairs, spliced.model)
    assert {p.label for p in found.ranking.positions} == {p.label for p in expected.positions}
    own = {found.name(w.node): w for w in found.ranking.nodes}
    named = replace(found, ranking=expected)
    assert len(own) == len(expected.nodes) > 500
    for node in expected.nodes:
        twin = own[named.name(node.node)]
        for field in ("effect", "mean_absolute", "standard_error", "clean", "patch"):
            value = getattr(node, field)
            assert getattr(twin, field) == (None if value is None else pytest.approx(value, rel=1e-4, abs=1e-6))
        assert twin.count == node.count
    assert found.total_effect == pytest.approx(whole.total_effect.mean(), rel=1e-6)
    sizes = [abs(w.effect) for w in found.ranking.nodes]
    assert sizes == sorted(sizes, reverse=True)


def test_the_strongest_examples_of_a_node_are_those_of_largest_effect(
    spliced: SplicedModel, pairs: PromptPairs, whole: Effects
) -> None:
    found = rank(iter(pairs), spliced.model, partial(atp, spliced), at_once=2, strongest=3)
    for weighted, own in list(zip(found.ranking.nodes, found.strongest, strict=True))[:40]:
        node = weighted.node
        if not isinstance(node, FeatureNode):
            continue
        label = found.ranking.positions[node.position].label
        here = whole.at(node.site) & whole.of_kind("feature") & (whole.index == node.index)
        roles = position_names(pairs)
        names = [roles[e][p] for e, p in zip(whole.example, whole.position, strict=True)]
        rows = np.flatnonzero(here & (np.array(names) == label))
        expected = sorted(((abs(whole.effect[r]), int(whole.example[r])) for r in rows), reverse=True)[:3]
        np.testing.assert_allclose([abs(v) for _, v in own], [size for size, _ in expected], rtol=1e-4, atol=1e-6)
        assert {e for e, _ in own} == {e for _, e in expected}


def test_together_adds_up_positions_in_each_example_first(
    spliced: SplicedModel, pairs: PromptPairs, whole: Effects
) -> None:
    found = streamed(spliced, pairs, 4, together=True)
    assert [p.label for p in found.ranking.positions] == ["everywhere"]
    strongest = next(w for w in found.ranking.nodes if isinstance(w.node, FeatureNode))
    assert isinstance(strongest.node, FeatureNode)
    here = whole.at(strongest.node.site) & whole.of_kind("feature") & (whole.index == strongest.node.index)
    by_example = np.bincount(whole.example[here], whole.effect[here], minlength=len(pairs))
    assert strongest.effect == pytest.approx(by_example.mean(), rel=1e-4)
    assert strongest.mean_absolute == pytest.approx(np.abs(by_example).mean(), rel=1e-4)
    assert strongest.standard_error == pytest.approx(by_example.std(ddof=1) / len(pairs) ** 0.5, rel=1e-4)


def test_pairs_are_read_no_further_than_the_batch_that_is_measured(spliced: SplicedModel, pairs: PromptPairs) -> None:
    read: list[int] = []
    ahead: list[int] = []

    def source() -> Iterator[PromptPair]:
        for number, pair in enumerate(pairs):
            read.append(number)
            yield pair

    rank(source(), spliced.model, partial(atp, spliced), at_once=2, done=lambda count: ahead.append(len(read) - count))
    assert len(ahead) == 5
    assert set(ahead) == {0}


def test_opposite_signs_cancel_in_the_mean_and_not_in_the_mean_of_sizes(
    spliced: SplicedModel, pairs: PromptPairs
) -> None:
    turned = [PromptPair(p.patch_ids, p.clean_ids, p.answer_id, p.foil_id, p.roles) for p in pairs]
    both = PromptPairs((*pairs, *turned))
    found = streamed(spliced, both, 6)
    token = next(w for w in found.ranking.nodes if found.name(w.node) == "token@subject")
    assert token.mean_absolute > 1.5 * abs(token.effect)


def test_what_cannot_be_averaged_is_refused(spliced: SplicedModel, pairs: PromptPairs) -> None:
    metrics = iter((logit_difference, log_probability, kl_divergence))

    def changing(few: PromptPairs) -> Effects:
        return attribution_patching(spliced, few, next(metrics))

    with pytest.raises(ValueError, match="A batch has metric 'log_probability' where the first had 'logit_difference'"):
        rank(iter(pairs), spliced.model, changing, at_once=4)
    with pytest.raises(ValueError, match="No prompt pairs"):
        rank(iter(()), spliced.model, partial(atp, spliced))
    with pytest.raises(ValueError, match="at_once must be at least 1"):
        rank(iter(pairs), spliced.model, partial(atp, spliced), at_once=0)


BAD = '{"clean_ids": [1, 2], "patch_ids": [1], "answer_id": 1, "wrong_id": 2}'


@pytest.mark.parametrize("at_once", [1, 9, 32])
def test_pairs_with_and_without_roles_are_refused_however_they_are_cut(
    spliced: SplicedModel, pairs: PromptPairs, at_once: int
) -> None:
    given = partial(rank, model=spliced.model, measure=partial(atp, spliced), at_once=at_once)
    bare = [replace(pair, roles=None) for pair in pairs]
    with pytest.raises(ValueError, match="Pair 2: has no roles where the first pair has them"):
        given((*pairs.pairs[:2], *bare[2:4]))
    with pytest.raises(ValueError, match="Pair 1: has roles where the first pair has none"):
        given((bare[0], pairs[1]))


def test_roles_in_some_lines_only_are_found_before_a_model_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    bare = {"clean": "a", "patch": "b", "answer": "c", "wrong": "d"}
    path.write_text("\n".join(map(json.dumps, (bare, {**bare, "roles": None}, {**bare, "roles": ["it"]}))))
    assert count_pairs(path, 2) == 2
    with pytest.raises(ValueError, match=r"mixed.jsonl, line 3: has roles where .* Give roles to all pairs"):
        count_pairs(path)


def test_roles_in_some_pairs_only_of_a_json_file_are_found_before_measuring(pairs: PromptPairs, tmp_path: Path) -> None:
    keys = {"clean_ids": "clean_ids", "patch_ids": "patch_ids", "answer_id": "answer_id", "foil_id": "wrong_id"}
    rows = [{name: getattr(pair, own) for own, name in keys.items()} for pair in pairs]
    rows[0]["roles"] = pairs[0].roles
    (tmp_path / "mixed.json").write_text(json.dumps({"pairs": rows}))
    arguments = ["rank", "--pairs", str(tmp_path / "mixed.json"), "--saes", "relu", "--out", str(tmp_path / "r.pq")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "Pair 1: has no roles where the first pair has them" in " ".join(result.output.split())
    assert [p.name for p in tmp_path.iterdir()] == ["mixed.json"]


def write_jsonl(path: Path, pairs: PromptPairs, model: LanguageModel) -> None:
    rows = [
        {"clean_ids": p.clean_ids, "patch_ids": p.patch_ids, "answer_id": p.answer_id, "wrong_id": p.foil_id}
        for p in pairs
    ]
    path.write_text("\n\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


def test_a_jsonl_file_is_read_line_by_line_and_a_bad_line_is_named(
    spliced: SplicedModel, pairs: PromptPairs, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    write_jsonl(path, pairs, spliced.model)
    found = list(pair_stream(path, spliced.model))
    assert [p.clean_ids for p in found] == [p.clean_ids for p in pairs]
    with path.open("a", encoding="utf-8") as file:
        file.write('{"clean_ids": [1, 2], "patch_ids": [1], "answer_id": 1, "wrong_id": 2}\nnot json\n')
    stream = pair_stream(path, spliced.model)
    assert sum(1 for _ in zip(range(9), stream, strict=False)) == 9
    with pytest.raises(ValueError, match="line 18: clean has 2 tokens and patch 1"):
        next(stream)


@pytest.mark.parametrize(
    ("line", "wrong"), [(BAD, "line 18: clean has 2 tokens and patch 1"), ("no", "not valid JSON")]
)
def test_a_bad_line_is_found_before_a_model_is_loaded(
    spliced: SplicedModel, pairs: PromptPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, wrong: str
) -> None:
    path = tmp_path / "many.jsonl"
    write_jsonl(path, pairs, spliced.model)
    assert (count_pairs(path), count_pairs(path, 4)) == (9, 4)
    path.write_text(path.read_text() + line + "\n")
    loaded: list[Inputs] = []
    monkeypatch.setattr(Inputs, "load_spliced", loaded.append)
    arguments = ["rank", "--pairs", str(path), "--out", str(tmp_path / "r.parquet")]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, loaded) == (2, [])
    assert wrong in " ".join(result.output.split())
    assert "many.jsonl" in "".join(result.output.split())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["many.jsonl"]


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ([], "expected an object, found list"),
        ({"clean": "a"}, "has neither 'patch' nor 'patch_ids'"),
        ({"clean": "a", "patch": "b", "answer": 3, "wrong": "d"}, "answer is 3; expected text"),
        ({"clean": "a", "patch_ids": ["b"], "answer": "c", "wrong": "d"}, r"patch_ids\[0\] is 'b'; expected a whole"),
        (
            {"clean": "a", "patch": "b", "answer": "c", "wrong": "d", "roles": "ab"},
            "roles is 'ab'; expected a list of names",
        ),
    ],
)
def test_what_is_wrong_whatever_the_model_is_found_without_one(tmp_path: Path, entry: object, wrong: str) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(entry))
    with pytest.raises(ValueError, match=f"one.jsonl, line 1: {wrong}"):
        count_pairs(path)


@pytest.mark.parametrize("together", [False, True])
def test_a_ranking_comes_back_from_its_file(
    spliced: SplicedModel, pairs: PromptPairs, tmp_path: Path, together: bool
) -> None:
    found = streamed(spliced, pairs, 4, together)
    path = tmp_path / "r.parquet"
    write_ranking(found, path)
    assert read_ranking(path) == found
    table = pq.read_table(path)
    rows = table.to_pylist()
    about = json.loads(table.schema.metadata[b"jumpwire"])
    assert (about["examples"], about["method"], about["unit"]) == (9, "attribution_patching", "logits")
    assert about["positions_mean"] == found.positions_mean == (TOGETHER if together else ROLES)
    for row in rows:
        if row["kind"] == "feature":
            assert row["node"] == f"{row['site']}/{row['index']}@{row['position']}"
    assert {row["kind"] for row in rows} == {"feature", "error", "token"}
    write_other = pq.read_table(path).replace_schema_metadata(
        {b"jumpwire": json.dumps({**about, "schema_version": 99})}
    )
    pq.write_table(write_other, path)
    with pytest.raises(ValueError, match="schema version 99; this version reads 1"):
        read_ranking(path)
    pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(ValueError, match="not a ranking of jumpwire"):
        read_ranking(path)


def test_pairs_without_roles_are_named_from_the_end(spliced: SplicedModel, pairs: PromptPairs) -> None:
    bare = PromptPairs(tuple(replace(pair, roles=None) for pair in pairs))
    assert streamed(spliced, bare, 9).positions_mean == FROM_THE_END


def test_the_command_writes_every_node_with_its_strongest_examples(
    spliced: SplicedModel, pairs: PromptPairs, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "many.jsonl", pairs, spliced.model)
    arguments = ["--pairs", str(tmp_path / "many.jsonl"), "--saes", "relu", "--method", "atp", "--at-once", "4"]
    result = CliRunner().invoke(app, ["rank", *arguments, "--out", str(tmp_path / "r.parquet")])
    assert result.exit_code == 0, result.output
    assert "nodes over 9 pairs" in result.output
    table = pq.read_table(tmp_path / "r.parquet").to_pydict()
    effects = np.abs(table["effect"])
    assert (np.diff(effects) <= 0).all()
    assert 1 <= len(table["examples"][0]) <= 5
    assert abs(table["example_effects"][0][0]) == max(map(abs, table["example_effects"][0]))
    assert table["mean_absolute"][0] >= effects[0]
    wrong = CliRunner().invoke(app, ["rank", *arguments, "--patch", "mean"])
    assert wrong.exit_code == 2
    assert "No patch 'mean'" in wrong.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--patch", "zero"],
            "--method chord-ig walks to the patch prompt, and --patch zero has none. Give",
        ),
        (
            ["--method", "atp", "--error", "path"],
            "--method atp has no --error path. Give --error live, frozen, zero",
        ),
        (["--method", "atp", "--metric", "kl_divergence"], "--metric kl_divergence is flat at the clean run"),
        (["--method", "ig", "--rule", "left"], "No rule 'left'"),
        (["--memory", "much"], "'--memory': 'much' is no amount"),
    ],
)
def test_options_that_exclude_each_other_are_refused_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    loaded: list[Inputs] = []
    monkeypatch.setattr(Inputs, "load_spliced", loaded.append)
    result = CliRunner().invoke(app, ["rank", *arguments, "--out", str(tmp_path / "deep" / "r.parquet")])
    assert (result.exit_code, loaded) == (2, [])
    assert message in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_chunks_lie_beside_the_file_whatever_it_is_called(tmp_path: Path) -> None:
    command = ["rank", "--method", "atp", "--examples", "2", "--saes", "relu", "--out"]
    names = ("r.chunks", "r.parquet", "r.pq")
    for name in names:
        result = CliRunner().invoke(app, [*command, str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        assert read_ranking(tmp_path / name).examples == 2
        assert "1 computed, 0 reused" in result.output
    assert {p.name for p in tmp_path.iterdir()} == {*names, *(f"{name}.chunks" for name in names)}
    shutil.rmtree(tmp_path / "r.pq.chunks")
    (tmp_path / "r.pq.chunks").touch()
    for out, message in ((tmp_path / "r.pq", "move it, or give another place"), (Path(), "--out . is a folder")):
        result = CliRunner().invoke(app, [*command, str(out)])
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())


@pytest.mark.parametrize("method", ["exact", "chord-ig"])
def test_batches_follow_the_memory_and_what_cannot_fit_is_refused(
    spliced: SplicedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    own = task_pairs("agreement", "train", 4, 0, spliced.model)
    longest = PromptPairs((max(own, key=len),))
    room = Room.of(spliced, longest, "frozen" if method == "chord-ig" else "live", 1)
    least = room.least_for(method)
    used: list[int] = []
    run = METHODS[method]

    def watched(*given: Any, batch_size: int, **options: Any) -> Effects:
        used.append(batch_size)
        return run(*given, batch_size=batch_size, **options)

    monkeypatch.setitem(METHODS, method, watched)
    monkeypatch.setattr(question, "exact_patching", watched)
    command = ["rank", "--method", method, "--examples", "4", "--saes", "relu", "--no-resume"]
    found = []
    for name, size in (("little", -(-least // 2**20)), ("much", 4096)):
        result = CliRunner().invoke(app, [*command, "--memory", f"{size}M", "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        found.append(read_ranking(tmp_path / name))
    assert used[0] < used[1]
    effects = [{f.name(w.node): w.effect for w in f.ranking.nodes} for f in found]
    assert effects[0] == pytest.approx(effects[1], rel=1e-3, abs=1e-5)
    result = CliRunner().invoke(app, [*command, "--memory", "0.01M", "--out", str(tmp_path / "never")])
    assert result.exit_code == 2
    assert f"Give --memory {-(-least // 2**20)}M or more" in " ".join(result.output.split())
    assert len(used) == 2
    assert not (tmp_path / "never").exists()


def test_memory_is_a_share_of_what_is_free_before_the_first_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter((2**30, *[0] * 20))
    monkeypatch.setattr(memory, "free_bytes", lambda _: next(free))
    command = ["rank", "--method", "atp", "--examples", "3", "--at-once", "1", "--saes", "relu"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "r.parquet")])
    assert result.exit_code == 0, result.output
    assert sum(1 for _ in free) == 20
