"""A sweep over strengths with known answers: 0 is the clean run, directions equal features, affine models a line."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attribution.prompts.metrics import kl_divergence, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.runs.chunk_store import kept_in
from attribution.splice.edits import EVERYWHERE, NodeEdit, ReferenceValues, SiteNodes, add, scale
from attribution.splice.interventions import add_to_feature, scale_feature, set_feature
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from attribution.splice.writing import Edit
from circuits.ablation.generation import generate
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.labels.corpus import embedded_corpus
from circuits.steering.samples import Sampling
from circuits.steering.steering import Steering
from circuits.steering.sweep import STAGE, steer
from circuits.tasks.prompts import prompt_pairs, task_pairs
from graphs.sweeps.steering_sweep import SteeringSweep
from tests.worlds.tiny_models import World, plain_world

SITE, LATER = "blocks.2.hook_resid_post", "blocks.3.hook_resid_post"
FEATURE = 368
"""Reads the number of the subject."""
MODES: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
FEW = Sampling(new_tokens=5, samples=2, seed=3)


@pytest.fixture(scope="module")
def spliced() -> SplicedModel:
    """With two SAEs of the residual stream, for speed."""
    saes = {site: sae for site, sae in embedded_saes("jumprelu").items() if site in (SITE, LATER)}
    return SplicedModel(embedded_model(), saes)


@pytest.fixture(scope="module")
def pairs(spliced: SplicedModel) -> PromptPairs:
    return task_pairs("agreement", "train", 3, 0, spliced.model)


@pytest.fixture(scope="module")
def documents(spliced: SplicedModel) -> list[list[int]]:
    return [list(ids) for ids in embedded_corpus(spliced.model, documents=6).pieces()]


def last_logits(
    spliced: SplicedModel, pairs: PromptPairs, interventions: Sequence[Edit], mode: ErrorMode = "live"
) -> tuple[Tensor, PairBatch]:
    batch = pairs.batch(reads=logit_difference.positions)
    run = spliced.run(batch.clean_ids, interventions, last=batch.last, error_mode=mode, read=batch.read)
    return run.logits, batch


@pytest.mark.parametrize("mode", MODES)
def test_strength_0_is_the_clean_run_bit_for_bit(
    spliced: SplicedModel, pairs: PromptPairs, documents: list[list[int]], mode: ErrorMode
) -> None:
    texts = [f"{SITE}/{FEATURE}@subject:add=5", f"{LATER}/3:set=2", f"{SITE}/direction:add=3"]
    steering = Steering.named(texts, spliced, pairs, direction=f"{SITE}/7", error_mode=mode)
    sweep = steer(spliced, pairs, logit_difference, steering, strengths=[1.0], sampling=FEW, documents=documents[:2])
    clean, batch = last_logits(spliced, pairs, [], mode)
    bare = sweep.unsteered
    assert bare.metric == tuple(logit_difference.bind(clean, batch)(clean, batch).tolist())
    assert bare.kl == (0.0, 0.0, 0.0)
    assert bare.text_kl == 0
    ids = batch.clean_ids.repeat_interleave(2, 0)
    seeds = [FEW.seed_of(n, k) for n in range(3) for k in range(2)]
    about = {"error_mode": mode, "temperature": 1.0, "seed": seeds, "closing_id": spliced.model.eos_id}
    free = generate(spliced, ids, new_tokens=5, **about)
    words = [spliced.model.shown_in_text(own) for own in free.ids[:, ids.shape[1] :].tolist()]
    assert [s.text for s in bare.samples] == ["".join(own).strip() for own in words]
    assert sweep.at(1.0).metric != bare.metric


def test_edits_of_amount_0_write_back_the_clean_run_bit_for_bit(spliced: SplicedModel, pairs: PromptPairs) -> None:
    """So nothing jumps where a strength comes close to 0."""
    nodes = SiteNodes.of([(0, EVERYWHERE, EVERYWHERE, FEATURE)])
    for operation in (add(0.0), scale(1.0)):
        edit = NodeEdit(SITE, nodes, operation, ReferenceValues.zero())
        assert torch.equal(last_logits(spliced, pairs, [edit])[0], last_logits(spliced, pairs, [])[0])


@pytest.mark.parametrize("mode", MODES)
def test_a_decoder_direction_added_equals_its_live_feature_set_to_so_much_more(world: World, mode: ErrorMode) -> None:
    """A feature that is active at a position: + 0.7 · its direction is its activation + 0.7."""
    spliced = world.spliced
    site = next(s for s in spliced.sites if spliced.saes[s].normalisation == "none")
    pair = PromptPair((0, 5, 9, 3), (0, 5, 9, 3), 3, 4)
    pairs = PromptPairs((pair,))
    clean = spliced.record(pairs.batch().clean_ids, pairs.batch().last, "zero" if mode == "zero" else "live")
    features = clean.sites[site].features
    live = int((features.pos == 3).nonzero()[0])
    index, value = int(features.index[live]), float(features.value[live])
    steering = Steering.named(
        [f"{site}/direction@3:add=0.7"], spliced, pairs, direction=f"{site}/{index}", error_mode=mode
    )
    swept = steer(spliced, pairs, logit_difference, steering, strengths=[1.0, 2.0])
    for strength in (1.0, 2.0):
        more = set_feature(site, index, value + strength * 0.7, [3])
        logits, batch = last_logits(spliced, pairs, [more], mode)
        wanted = logit_difference.bind(logits, batch)(logits, batch)
        assert swept.at(strength).metric == pytest.approx(wanted.tolist(), rel=1e-9, abs=1e-10)
        assert abs(swept.at(strength).metric[0] - swept.unsteered.metric[0]) > 1e-6


def test_a_direction_at_an_affine_readout_changes_the_metric_linearly() -> None:
    world = plain_world(lambda x: 0.5 * x + 0.1, always_open=True)
    pairs = PromptPairs((PromptPair((0, 5, 9, 3), (0, 5, 9, 3), 3, 4), PromptPair((0, 7, 2), (0, 7, 2), 5, 6)))
    direction = torch.linspace(-1, 2, world.spliced.saes["blocks.1.hook_resid_post"].d_in).double()
    for site in ("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"):
        steering = Steering.named([f"{site}/direction@-1:add=2"], world.spliced, pairs, direction=direction)
        strengths = [-3.0, -1.0, 0.5, 1.0, 4.0]
        swept = steer(world.spliced, pairs, logit_difference, steering, strengths=strengths)
        slope = [after - before for after, before in zip(swept.at(1.0).metric, swept.unsteered.metric, strict=True)]
        assert min(map(abs, slope)) > 1e-3
        for s in strengths:
            wanted = [b + s * d for b, d in zip(swept.unsteered.metric, slope, strict=True)]
            assert swept.at(s).metric == pytest.approx(wanted, abs=1e-9)
    unembed = world.model.module.unembed.weight
    assert slope[0] == pytest.approx(float((unembed[3] - unembed[4]) @ direction * 2), abs=1e-9)


def test_a_relative_strength_of_1_is_the_maximum_over_the_text(
    spliced: SplicedModel, pairs: PromptPairs, documents: list[list[int]]
) -> None:
    largest, active = 0.0, set[int]()
    for ids in documents:
        features = spliced.record(torch.tensor([ids]), torch.tensor([len(ids) - 1])).sites[SITE].features
        largest = max(largest, float(features.dense()[0, :, FEATURE].max()))
        active |= set(features.index.tolist())
    assert largest > 0
    texts = [f"{SITE}/{FEATURE}@end:add=1max", f"{SITE}/direction@end:add=1max"]
    for text, direction in zip(texts, (None, f"{SITE}/{FEATURE}"), strict=True):
        relative = Steering.named([text], spliced, pairs, direction=direction, documents=documents, batch_size=4)
        assert relative.changes[0].maximum == pytest.approx(largest, rel=1e-6)
    relative = Steering.named(texts[:1], spliced, pairs, documents=documents)
    absolute = Steering.named([f"{SITE}/{FEATURE}@end:add={relative.changes[0].maximum}"], spliced, pairs)
    both = [steer(spliced, pairs, logit_difference, s, strengths=[0.5, 1.0]) for s in (relative, absolute)]
    assert [f.metric for f in both[0].strengths] == [f.metric for f in both[1].strengths]
    assert both[0].maxima == {texts[0]: pytest.approx(largest, rel=1e-6)}
    with pytest.raises(ValueError, match="give documents"):
        Steering.named(texts[:1], spliced, pairs)
    silent = next(n for n in range(512) if n not in active)
    with pytest.raises(ValueError, match="never active in the text, so it has no maximum"):
        Steering.named([f"{SITE}/{silent}:add=1max"], spliced, pairs, documents=documents)


def test_operations_differ_from_node_to_node_and_equal_interventions(spliced: SplicedModel, pairs: PromptPairs) -> None:
    end = len(pairs[0]) - 1
    texts = [f"{SITE}/{FEATURE}@end:add=5", f"{SITE}/99:set=3", f"{LATER}/7@end:scale=-1", f"{LATER}/8@end:add=2"]
    steering = Steering.named(texts, spliced, pairs)
    swept = steer(spliced, pairs, logit_difference, steering, strengths=[2.0])
    plain = [
        add_to_feature(SITE, FEATURE, 10.0, [end]),
        set_feature(SITE, 99, 6.0),
        scale_feature(LATER, 7, -3.0, [end]),
        add_to_feature(LATER, 8, 4.0, [end]),
    ]
    alive = [p for p in plain if p.index != 7 or f"{LATER}/7@end:scale=-1" not in swept.idle]
    logits, batch = last_logits(spliced, pairs, alive)
    assert swept.at(2.0).metric == pytest.approx(logit_difference.bind(logits, batch)(logits, batch).tolist(), abs=1e-6)
    clean, _ = last_logits(spliced, pairs, [])
    on = kl_divergence.bind(clean, batch)
    assert swept.at(2.0).kl == pytest.approx(on(logits, batch).tolist(), abs=1e-5)


def test_steering_only_the_prompt_or_only_what_is_generated(spliced: SplicedModel) -> None:
    """Prompts of unequal length, against interventions at those positions."""
    rows = [{"prompt": text} for text in ("the doctors near the cake", "the doctor")]
    pairs = prompt_pairs(rows, spliced.model)
    swept = {
        when: steer(
            spliced,
            pairs,
            logit_difference,
            Steering.named([f"{SITE}/{FEATURE}:add=20"], spliced, pairs, when=when),
            strengths=[1.0],
            sampling=Sampling(new_tokens=4, samples=1, temperature=0),
        )
        for when in ("always", "prompt", "generating")
    }
    for number, pair in enumerate(pairs):
        ids, end = torch.tensor([pair.clean_ids]), pair.end
        for when, places in (("always", range(1, end + 5)), ("prompt", range(1, end + 1)), ("generating", None)):
            chosen = range(end, end + 5) if places is None else places
            text = ids
            for step in range(4):
                here = [p for p in chosen if p < text.shape[1]]
                logits = spliced.run(text, [add_to_feature(SITE, FEATURE, 20.0, here)]).logits[0, -1]
                if step == 0:
                    own = float(logits[pair.answer_id] - logits[pair.foil_id])
                    assert swept[when].at(1.0).metric[number] == pytest.approx(own, abs=1e-4)
                text = torch.cat([text, logits.argmax().reshape(1, 1)], 1)
            (sample,) = [s for s in swept[when].at(1.0).samples if s.prompt == number]
            wanted = "".join(spliced.model.shown_in_text(text[0, end + 1 :].tolist())).strip()
            assert sample.text == wanted
    assert len({swept[when].at(1.0).metric for when in swept}) == 2  # always and prompt read the same prompt


def test_samples_repeat_and_do_not_depend_on_what_else_is_run(spliced: SplicedModel, pairs: PromptPairs) -> None:
    steering = Steering.named([f"{SITE}/{FEATURE}:add=5"], spliced, pairs)

    def texts(pairs: PromptPairs, strength: float, batch_size: int = 16, **changes: int) -> list[tuple[int, str]]:
        given = spliced, pairs, logit_difference, steering
        sampling = replace(FEW, new_tokens=3, **changes)
        found = steer(*given, strengths=[strength], sampling=sampling, batch_size=batch_size)
        return [(s.prompt, s.text) for s in found.at(strength).samples]

    pairs = pairs.head(2)
    two = texts(pairs, 1.0)
    assert texts(pairs, 1.0) == two
    assert texts(pairs, 1.0, batch_size=1) == two
    assert texts(pairs.head(1), 1.0) == two[:2]
    assert texts(pairs, 1.0, samples=3)[:2] == two[:2]
    assert texts(pairs, 1.0, seed=4) != two
    assert len({text for _, text in two}) > 1


def test_fluency_is_the_cross_entropy_of_the_text_in_the_unsteered_model(spliced: SplicedModel) -> None:
    pairs = prompt_pairs([{"prompt": "the doctors near the cake"}], spliced.model)
    steering = Steering.named([f"{SITE}/{FEATURE}:add=30"], spliced, pairs)
    found = steer(spliced, pairs, logit_difference, steering, strengths=[1.0], sampling=FEW).at(1.0)
    total, count = 0.0, 0
    for sample in found.samples:
        ids = torch.tensor([[*pairs[0].clean_ids, *_ids_of(spliced, sample.text, sample.tokens)]])
        log = spliced.model.logits(ids).double().log_softmax(-1)[0, pairs[0].end : -1]
        each = -log.gather(-1, ids[0, pairs[0].end + 1 :, None])[:, 0]
        assert sample.cross_entropy == pytest.approx(float(each.mean()), abs=1e-5)
        total, count = total + float(each.sum()), count + len(each)
    assert found.fluency == pytest.approx(total / count, abs=1e-5)


def _ids_of(spliced: SplicedModel, text: str, tokens: int) -> list[int]:
    ids = [i for i in spliced.model.token_ids(f" {text}") if i != spliced.model.bos_id]
    closing = spliced.model.eos_id
    return ids if len(ids) == tokens or closing is None else [*ids, closing]


def test_a_sweep_goes_on_where_it_was_stopped_and_takes_more_strengths(
    spliced: SplicedModel, pairs: PromptPairs, tmp_path: Path
) -> None:
    steering = Steering.named([f"{SITE}/{FEATURE}:add=5"], spliced, pairs)

    def swept(*strengths: float, seed: int = 0) -> tuple[SteeringSweep, int, int]:
        with kept_in(tmp_path) as store:
            found = steer(
                spliced, pairs, logit_difference, steering, strengths=strengths, sampling=Sampling(2, 1, seed=seed)
            )
        tally = store.tallies[STAGE]
        return found, tally.computed, tally.reused

    first, *counts = swept(1.0, 2.0)
    assert counts == [3, 0]
    more, *counts = swept(0.5, 1.0, 2.0)
    assert counts == [1, 3]
    assert [more.at(s) for s in (0.0, 1.0, 2.0)] == list(first.strengths)
    assert swept(1.0, 2.0, seed=1)[1:] == (3, 0)


def test_a_steering_that_does_nothing_is_an_error_and_an_idle_change_is_named(
    spliced: SplicedModel, pairs: PromptPairs
) -> None:
    batch = pairs.batch()
    active = set(spliced.record(batch.clean_ids, batch.last).sites[SITE].features.index.tolist())
    silent = next(n for n in range(512) if n not in active)
    idle, busy = f"{SITE}/{silent}@end:set=0", f"{SITE}/{FEATURE}:add=1"
    with pytest.raises(ValueError, match=f"Cannot {idle}: it would change nothing in any of the 3 prompts.*Active"):
        steer(spliced, pairs, logit_difference, Steering.named([idle], spliced, pairs))
    swept = steer(spliced, pairs, logit_difference, Steering.named([busy, idle], spliced, pairs), strengths=[1.0])
    assert swept.idle == (idle,)
    with pytest.raises(LookupError, match=r"No strength 3 in this sweep\. Strengths: 0, 1"):
        swept.at(3.0)


def test_a_node_that_is_changed_twice_is_warned_of(spliced: SplicedModel, pairs: PromptPairs) -> None:
    twice = Steering.named([f"{SITE}/{FEATURE}:add=1", f"{SITE}/{FEATURE}@end:scale=2"], spliced, pairs)
    (caution,) = steer(spliced, pairs, logit_difference, twice, strengths=[1.0]).warnings
    assert "the second change acts on what the first wrote" in caution.sentence


def test_wrong_questions_are_refused(spliced: SplicedModel, pairs: PromptPairs) -> None:
    name = f"{SITE}/{FEATURE}:add=1"
    with pytest.raises(ValueError, match="in zero mode there are no errors"):
        Steering.named([f"{SITE}/error:scale=2"], spliced, pairs, error_mode="zero")
    with pytest.raises(LookupError, match="no prompt has that position"):
        Steering.named([f"{SITE}/{FEATURE}@nowhere:add=1"], spliced, pairs)
    with pytest.raises(ValueError, match="position 0 is not spliced"):
        steer(spliced, pairs, logit_difference, Steering.named([f"{SITE}/1@bos:add=1"], spliced, pairs))
    with pytest.raises(ValueError, match="must be a finite number; got nan"):
        steer(spliced, pairs, logit_difference, Steering.named([name], spliced, pairs), strengths=[float("nan")])
    with pytest.raises(ValueError, match=r"At strength 1e\+39 .* is no finite number\. Steer less strongly"):
        steer(spliced, pairs, logit_difference, Steering.named([name], spliced, pairs), strengths=[1e39])
    too_long = Sampling(new_tokens=10_000)
    with pytest.raises(ValueError, match="the model's context holds"):
        steer(spliced, pairs, logit_difference, Steering.named([name], spliced, pairs), sampling=too_long)
    with pytest.raises(ValueError, match="At temperature 0 all 4 samples are the same"):
        Sampling(temperature=0)
    with pytest.raises(ValueError, match="at least 1 token"):
        Sampling(new_tokens=0)
