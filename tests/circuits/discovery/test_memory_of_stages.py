"""`--memory` holds at every stage: tensors alive at a time, stage by stage, in rooms that hold little more than a pair.

A stage that is not in `STAGES` fails here, and one in `STAGES` that no run enters.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from attribution.checking.gate_crossings import with_crossings
from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.dictionaries import SAE, JumpReLU
from attribution.edges.exact_edges import exact_edges
from attribution.models.hooks import SiteFunction, logits_with
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.memory import Room
from attribution.runs.progress import silent
from attribution.runs.time_limit import TimeLimit
from attribution.splice.edits import REMOVE
from attribution.splice.patch_values import counterfactual
from attribution.splice.spliced_model import SplicedModel
from circuits.ablation.ablation import ablate
from circuits.ablation.causal_test import causal_test
from circuits.ablation.edits import Ablation
from circuits.ablation.node_names import circuit_names
from circuits.discovery.discover import STAGES, Found, discover
from circuits.discovery.selection import Selection
from circuits.labels.corpus import Corpus
from circuits.labels.feature_labels import label
from circuits.ranking.question import Question
from circuits.selection.watch import Unwatched
from tests.worlds.live_bytes import LiveBytes

TOKENS, LAYERS, WIDTH, VOCABULARY, FEATURES, ACTIVE = 20, 4, 64, 500, 512, 4
MEMORY = 5 * 2**20
SLACK = 1.02
"""Results are kept beside what a stage holds."""


class StagesOf(Unwatched):
    """Enters stages in a `LiveBytes`."""

    def __init__(self, live: LiveBytes) -> None:
        self.live = live

    def enters(self, stage: str, seconds: float | None) -> None:
        self.live.enters(stage)


@cache
def world() -> tuple[SplicedModel, PromptPairs]:
    """A GPT-2 of random weights with a JumpReLU SAE behind every block, and one pair of random tokens."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=LAYERS, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        model = LanguageModel.load(folder)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, VOCABULARY, (2 * TOKENS + 2,), generator=generator).tolist()
    pairs = PromptPairs((PromptPair(tuple(ids[:TOKENS]), tuple(ids[TOKENS:-2]), ids[-2], ids[-1]),))
    seen: dict[str, torch.Tensor] = {}

    def keeping(site: str) -> SiteFunction:
        def function(x: torch.Tensor) -> torch.Tensor:
            seen[site] = x.flatten(0, 1)
            return x

        return function

    sites = [f"blocks.{layer}.hook_resid_post" for layer in range(LAYERS)]
    with torch.no_grad():
        logits_with(model, pairs.batch().clean_ids, {site: keeping(site) for site in sites})
    return SplicedModel(model, [sae(site, seen[site], generator) for site in sites]), pairs


def sae(site: str, x: torch.Tensor, generator: torch.Generator) -> SAE:
    """Random directions; the threshold leaves `ACTIVE` features at a position."""
    directions = torch.randn(WIDTH, FEATURES, generator=generator)
    directions /= directions.norm(dim=0)
    threshold = (x @ directions).flatten().topk(ACTIVE * len(x) + 1).values[-1]
    return JumpReLU(
        W_enc=directions,
        W_dec=directions.T.contiguous(),
        b_enc=torch.zeros(FEATURES),
        b_dec=torch.zeros(WIDTH),
        threshold=threshold.expand(FEATURES).clone(),
        site=site,
    )


@cache
def measured(method: str) -> tuple[Found, dict[str, int]]:
    """A circuit, and the peak of every stage."""
    spliced, pairs = world()
    with LiveBytes() as live, pytest.MonkeyPatch.context() as patch:
        patch.setattr("circuits.discovery.discover.as_long_as_since", lambda *_: lambda: TimeLimit.after(2.0))
        found = discover(
            spliced,
            pairs,
            logit_difference,
            method=method,
            verify=None if method == "auto" else 30,
            budget=300.0,
            memory=MEMORY,
            error_mode="frozen" if method == "auto" else None,
            select=Selection(faithful=0.5, drop=0.5) if method == "auto" else Selection(nodes=12),
            resamples=0,
            explained=1,
            texts={"general": [pair.clean_ids for pair in pairs]},
            watch=StagesOf(live),
        )
    return found, live.most


@pytest.mark.parametrize("method", ["auto", "chord-ig"])
def test_no_stage_of_a_search_holds_more_than_is_allowed(method: str) -> None:
    _, most = measured(method)
    over = {stage: peak / MEMORY for stage, peak in most.items() if peak > SLACK * MEMORY}
    assert not over


def test_every_stage_is_entered_and_known() -> None:
    entered = {stage for method in ("auto", "chord-ig") for stage in measured(method)[1]}
    assert entered - {""} == set(STAGES)


TIGHT = 5 * 2**18
"""Bytes in which the graph of a pair through all blocks, with encoders, does not fit whole."""


@pytest.mark.parametrize("method", ["atp", "ig", "chord-ig", "mask-path"])
def test_gradients_hold_no_more_where_their_graph_does_not_fit_whole(method: str) -> None:
    spliced, pairs = world()
    mode = "live" if method == "mask-path" else "frozen"
    question = Question(spliced, pairs, logit_difference, mode, memory=TIGHT)
    question.room.refuse_if_too_small()
    assert not question.fitted.holds_whole(pairs.batch().clean_ids, LAYERS, spliced.sites)
    with LiveBytes() as live:
        question.estimate(method, silent)
    assert live.most[""] <= SLACK * TIGHT


def crossings(room: Room) -> None:
    spliced, pairs = world()
    size, runs = room.pairs("chord-ig"), room.runs_of("chord-ig")
    ledger = chord_attribution(spliced, pairs, logit_difference, batch_size=size, runs_at_once=runs).ledger
    with_crossings(spliced, pairs, ledger.strongest(20), runs_at_once=room.recorded_runs)


def edges(room: Room) -> None:
    spliced, pairs = world()
    effects = measured("auto")[0].effects
    first, second = (effects.subset(effects.of_kind("feature") & effects.at(site)) for site in spliced.sites[:2])
    count = min(len(first), len(second), 60)
    exact_edges(spliced, pairs, logit_difference, first.keys()[:count], second.keys()[:count], runs_at_once=room.runs)


def knock_outs(room: Room) -> None:
    spliced, pairs = world()
    causal_test(spliced, pairs, logit_difference, measured("chord-ig")[0].circuit, room=room)


def ablation(room: Room) -> None:
    spliced, pairs = world()
    names = [name for name in circuit_names(measured("chord-ig")[0].circuit, spliced) if not name.is_token]
    ablation = Ablation(tuple(names), REMOVE, counterfactual, "frozen")
    ablate(spliced, pairs, logit_difference, ablation, batch_size=room.pairs("exact"))


def labels(room: Room) -> None:
    spliced, _ = world()
    corpus = Corpus("words", lambda: iter(["a b c " * 200] * 20), _with_tokens(spliced.model))
    label(spliced, [(spliced.sites[0], n) for n in range(8)], corpus, memory=room.size)


def _with_tokens(model: LanguageModel) -> LanguageModel:
    """The model, reading every word as a token."""

    class Words:
        eos_token_id = bos_token_id = unk_token_id = None

        def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
            return {"input_ids": [1 + len(word) for word in text.split()]}

        def decode(self, ids: Sequence[int]) -> str:
            return "".join(f" {n}" for n in ids)

    model.tokenizer = Words()
    return model


@pytest.mark.parametrize("stage", [crossings, edges, knock_outs, ablation, labels])
def test_what_comes_after_a_search_holds_no_more_either(stage: Callable[[Room], None]) -> None:
    spliced, pairs = world()
    for method in ("auto", "chord-ig"):
        measured(method)
    room = Room.of(spliced, pairs, "frozen", MEMORY)
    with LiveBytes() as live:
        stage(room)
    assert live.most[""] <= SLACK * MEMORY
