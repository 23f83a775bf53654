"""What is asked with the wrong kind of thing, or a misspelt choice, is one sentence, before any work."""

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from torch import Tensor

from attribution.prompts.metric_names import metric_named
from attribution.prompts.metrics import logit_difference
from attribution.prompts.position_names import scheme_of
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.prompts.role_spans import roles_of_spans
from attribution.splice.recording import refuse_other_mode
from circuits.comparing.side import Side
from circuits.discovery.discover import discover
from circuits.discovery.selection import Selection
from graphs.circuit_graph import refuse_other_than_circuit
from tests.graphs.page.page_circuits import small_circuit
from tests.worlds.tiny_models import PAIRS, World


def first_logit(logits: Tensor, _batch: Any) -> Tensor:
    return logits[:, 0]


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ((list(PAIRS), logit_difference), r"got a list. Make them by PromptPairs\(tuple\(pairs\)\)"),
        (([{"clean": "a"}], logit_difference), r"got a list. Make them by prompt_pairs\(rows, model\)"),
        (("pairs.json", logit_difference), r"got 'pairs.json'. Make them by prompt_pairs"),
        ((PAIRS, "logit_difference"), r"got its name. Write attribution.metric_named\('logit_difference'\)"),
        ((PAIRS, first_logit), "got a function. Write Metric"),
        ((PAIRS, [logit_difference]), "One metric is needed; got a list"),
        ((PAIRS, logit_difference, "zero"), r"A patch value is needed.*got 'zero'"),
    ],
)
def test_another_kind_of_thing_says_how_to_make_what_is_wanted(asked: tuple[Any, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        refuse_other_types(*asked)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (PAIRS, "A circuit is needed; got a PromptPairs[.]"),
        (Side(small_circuit()), "A circuit is needed; got a Side: give its .circuit, a CircuitGraph[.]"),
    ],
)
def test_what_holds_a_circuit_is_no_circuit_and_the_message_says_where_it_is(given: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        refuse_other_than_circuit(given)
    refuse_other_than_circuit(small_circuit())


def test_a_message_shows_little_of_what_was_given() -> None:
    long, many = "z" * 100_000, list(range(100_000))
    refusals = (
        partial(refuse_other_types, PAIRS, long),
        partial(refuse_other_types, PAIRS, None, many),
        partial(metric_named, long),
        partial(scheme_of, PAIRS, long),
        partial(refuse_other_mode, long),
        partial(small_circuit().node, long),
        partial(roles_of_spans, {"role": many}, ("a", "b"), opened=False),
    )
    for refuse in refusals:
        with pytest.raises((ValueError, LookupError), match=r".") as error:
            refuse()
        assert len(str(error.value)) < 400, refuse


ASKED = """
from attribution import attribution_patching, check, chord_attribution, exact_patching, integrated_gradients, own_paths
from circuits import ablate, causal_test, discover, load_model, load_saes, logit_difference, prompt_pairs, splice
model = load_model()
spliced, pairs = splice(model, load_saes("topk")), prompt_pairs("agreement", model, examples=1)
for ask in (attribution_patching, chord_attribution, exact_patching, integrated_gradients, discover):
    for given in ((list(pairs), logit_difference), (pairs, "logit_difference")):
        try:
            ask(spliced, *given)
        except ValueError as error:
            print(error)
for ask in (check, own_paths, causal_test, ablate):
    try:
        ask(spliced, list(pairs), logit_difference, None)
    except ValueError as error:
        print(error)
"""


def test_every_way_to_ask_says_so_where_nothing_checks_annotations() -> None:
    ran = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    said = ran.stdout.splitlines()
    assert sum(line.startswith("Prompt pairs are needed; got a list.") for line in said) == 9
    assert sum(line.startswith("A metric is needed; got its name.") for line in said) == 5


def test_equal_prompts_have_nothing_to_find(llama_world: World) -> None:
    same = PromptPairs(tuple(PromptPair(p.clean_ids, p.clean_ids, p.answer_id, p.foil_id) for p in PAIRS))
    with pytest.raises(ValueError, match="no node differs between clean and patch run"):
        discover(llama_world.spliced, same, logit_difference)


@pytest.mark.parametrize("least", [float("nan"), float("inf"), -0.1])
def test_a_least_edge_that_is_no_share_is_refused_before_any_work(llama_world: World, least: float) -> None:
    with pytest.raises(ValueError, match="least edge is a share"):
        discover(llama_world.spliced, PAIRS, logit_difference, least_edge=least)


MISSPELT = """
import torch
from attribution import ReLU, Room, exact_patching, mean_over, path_mode
from circuits import load_model, load_saes, logit_difference, prompt_pairs, rank_nodes, splice, trial_of_sites
model = load_model()
spliced, pairs = splice(model, load_saes("topk")), prompt_pairs("agreement", model, examples=1)
ids, bad = pairs[0].clean_ids, "frozn"
exact = exact_patching(spliced, pairs, logit_difference)
zeros = dict(W_enc=torch.zeros(2, 3), W_dec=torch.zeros(3, 2), b_enc=torch.zeros(3), b_dec=torch.zeros(2))
for call in (
    lambda: Room.of(spliced, pairs, bad),
    lambda: path_mode(bad),
    lambda: mean_over(spliced, [ids], error_mode=bad),
    lambda: exact_patching(spliced, pairs, logit_difference, error_mode=bad),
    lambda: trial_of_sites(spliced, pairs, logit_difference, error_mode=bad),
    lambda: spliced.run(torch.tensor([ids]), error_mode=bad),
    lambda: rank_nodes(exact, pairs, model, scheme=bad),
    lambda: ReLU(**zeros, normalisation=bad),
):
    try:
        call()
        print("nothing")
    except ValueError as error:
        print(error)
"""


def test_a_misspelt_choice_is_refused_wherever_it_enters() -> None:
    ran = subprocess.run([sys.executable, "-c", MISSPELT], capture_output=True, text=True, check=True)
    said = ran.stdout.splitlines()
    assert len(said) == 8
    assert all("'frozn'" in line for line in said)


@pytest.mark.parametrize("count", [1.5, True, "3"])
def test_a_number_of_nodes_is_a_whole_number(count: Any) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        Selection(nodes=count)
