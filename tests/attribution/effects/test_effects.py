"""Effects: the column contract, the order of rows, and the way to Parquet and back."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attribution.effects.effects import Effects
from attribution.methods.activation_difference import activation_difference
from attribution.methods.attribution_patching import attribution_patching
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from tests.worlds.tiny_models import PAIRS, World

COLUMNS = ["example", "site", "position", "kind", "index", "clean", "patch", "effect", "method", "error_mode"]
COLUMNS += ["gates", "open_effect"]


@pytest.fixture(scope="module")
def effects(llama_world: World) -> Effects:
    return attribution_patching(llama_world.spliced, PAIRS, logit_difference, error_mode="live")


def assert_same(found: Effects, expected: Effects) -> None:
    for f in fields(Effects):
        a, b = getattr(found, f.name), getattr(expected, f.name)
        if isinstance(b, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=f.name)
            assert a.dtype == b.dtype, f.name
        else:
            assert a == b, f.name


def test_parquet_keeps_everything(effects: Effects, tmp_path: Path) -> None:
    effects.write_parquet(tmp_path / "effects.parquet")
    assert_same(Effects.read_parquet(tmp_path / "effects.parquet"), effects)


def test_parquet_keeps_effects_without_residual_and_without_nodes(llama_world: World, tmp_path: Path) -> None:
    same = PromptPairs((PromptPair((0, 5), (0, 5), 3, 4),))
    for number, pairs in enumerate((PAIRS, same)):
        effects = activation_difference(llama_world.spliced, pairs, logit_difference)
        effects.write_parquet(tmp_path / f"{number}.parquet")
        assert_same(Effects.read_parquet(tmp_path / f"{number}.parquet"), effects)
        assert effects.residual is None
        assert (len(effects) == 0) == (pairs is same)


def test_the_file_has_the_promised_columns(effects: Effects, tmp_path: Path) -> None:
    effects.write_parquet(tmp_path / "effects.parquet")
    table = pq.read_table(tmp_path / "effects.parquet")
    assert table.column_names == COLUMNS
    rows = table.to_pylist()
    assert {r["kind"] for r in rows} == {"feature", "error", "token"}
    assert {r["site"] for r in rows} == set(effects.sites)
    assert {r["method"] for r in rows} == {"attribution_patching"}
    assert {r["error_mode"] for r in rows} == {"live"}
    assert {r["example"] for r in rows} == {0, 1, 2}
    for row in rows:
        assert (row["index"] >= 0) if row["kind"] == "feature" else (row["index"] == -1)
        assert (row["kind"] == "token") == (row["site"] == "hook_embed")
    for row in rows:
        if row["kind"] == "token":
            pair = PAIRS[row["example"]]
            at = row["position"]
            assert (row["clean"], row["patch"]) == (pair.clean_ids[at], pair.patch_ids[at])


def test_rows_are_sorted_and_each_node_stands_once(effects: Effects) -> None:
    names = ("example", "site", "position", "kind", "index")
    rows = list(zip(*(getattr(effects, n).tolist() for n in names), strict=True))
    assert rows == sorted(rows)
    assert len(set(rows)) == len(rows)


def test_a_site_without_effects_is_an_error_that_lists_the_sites(effects: Effects) -> None:
    with pytest.raises(LookupError, match=r"No effects at 'blocks.7.hook_mlp_out'. Sites: hook_embed, blocks.0"):
        effects.at("blocks.7.hook_mlp_out")


def test_another_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"effect": [1.0]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="not an effects file of jumpwire"):
        Effects.read_parquet(tmp_path / "other.parquet")


def test_another_schema_version_is_refused(effects: Effects, tmp_path: Path) -> None:
    table = effects.table()
    metadata = table.schema.metadata[b"jumpwire"].replace(b'"schema_version": 3', b'"schema_version": 99')
    pq.write_table(table.replace_schema_metadata({b"jumpwire": metadata}), tmp_path / "new.parquet")
    with pytest.raises(ValueError, match="schema version 99; this version reads 3"):
        Effects.read_parquet(tmp_path / "new.parquet")
