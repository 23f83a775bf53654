"""Fuzz: what runs leave behind: run.json, effects and rankings."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from circuits.commands.shared.earlier_run import EarlierRun
from circuits.commands.shared.inputs import Inputs
from circuits.ranking.dataset import rank
from circuits.ranking.ranking_file import read_ranking, write_ranking
from tests.fuzz.hostile_json import CORPUS, hostile_json
from tests.fuzz.test_graph_files import hostile_parquet
from tests.fuzz.trial import fuzz
from tests.worlds.tiny_models import PAIRS, World

CHOICES: dict[str, Any] = {
    "method": "atp",
    "error": "frozen",
    "metric": "log_probability",
    "per_pair": False,
    "validation": 0.2,
    "test": 0.2,
    "held_out": None,
    "other_examples": 10,
}


@pytest.fixture(scope="module")
def effects(llama_world: World) -> Effects:
    return measured(llama_world.spliced, PAIRS)


def measured(spliced: SplicedModel, pairs: PromptPairs) -> Effects:
    return attribution_patching(spliced, pairs, logit_difference)


def test_a_run_is_refused_in_a_sentence_or_read(tmp_path: Path) -> None:
    hashes = {"model": "a", "saes": {"blocks.0.hook_mlp_out": "b"}, "prompts": "c"}
    right = {"schema_version": 1, "arguments": {**Inputs().arguments(), **CHOICES}, "hashes": hashes}

    def use(content: bytes) -> None:
        (tmp_path / "run.json").write_bytes(content)
        run = EarlierRun.read(tmp_path)
        assert run.metric.name
        assert run.inputs.name

    fuzz("run.json", hostile_json(right), use, CORPUS)


def test_effects_are_refused_in_a_sentence_or_read(effects: Effects, tmp_path: Path) -> None:
    file = tmp_path / "effects.parquet"

    def use(content: bytes) -> None:
        file.write_bytes(content)
        Effects.read_parquet(file).table()

    fuzz("effects.parquet", hostile_parquet(effects.table()), use, (b"", b"PAR1"))


def test_a_ranking_is_refused_in_a_sentence_or_read(llama_world: World, tmp_path: Path) -> None:
    file = tmp_path / "rank.parquet"

    def use(content: bytes) -> None:
        file.write_bytes(content)
        write_ranking(read_ranking(file), tmp_path / "again.parquet")

    spliced = llama_world.spliced
    write_ranking(rank(iter(PAIRS), spliced.model, lambda few: measured(spliced, few)), file)
    fuzz("rank.parquet", hostile_parquet(pq.read_table(file)), use, (b"", b"PAR1"))
