"""A sweep in words and numbers: means by hand, columns that were measured, the unsteered row as reference."""

from dataclasses import replace

import pytest

from graphs import SteeredAt, SteeredText, SteeringSweep, steering_curve
from graphs.words.steering_words import changes_in_words, steering_facts, steering_headline, steering_table

BARE = SteeredAt(0.0, (2.0, 4.0), (0.0, 0.0), ("is", "are"), (SteeredText(0, "was", 1, 1.0),), 0.0, 2.0)
STEERED = SteeredAt(
    -1.5,
    (-1.0, 2.0),
    (0.5, 0.25),
    ("are", "are"),
    (SteeredText(0, "a b c", 3, 2.0), SteeredText(1, "d", 1, 4.0)),
    0.125,
    2.5,
)
SWEEP = SteeringSweep(
    ("27:add=1max", "99:set=0"),
    "generating",
    "live",
    "logit_difference",
    "logits",
    ("one", "two"),
    (STEERED, BARE),
    ("99:set=0",),
    {"27:add=1max": 12.345},
    documents=3,
)


def test_means_weigh_prompts_alike_and_tokens_alike() -> None:
    assert (STEERED.mean_metric, STEERED.mean_kl, STEERED.fluency) == (0.5, 0.375, 2.5)
    assert replace(STEERED, samples=()).fluency is None


def test_the_table_has_the_columns_that_were_measured() -> None:
    heads, rows = steering_table(SWEEP)
    assert heads == ("strength", "logit_difference", "KL", "fluency", "KL on text", "CE of text")
    assert rows[0] == ("−1.5", "+0.500", "0.3750", "2.500", "0.1250", "2.500")
    bare = tuple(replace(f, samples=(), text_kl=None, text_cross_entropy=None) for f in SWEEP.strengths)
    assert steering_table(replace(SWEEP, strengths=bare))[0] == ("strength", "logit_difference", "KL")


def test_the_words_say_what_was_done_and_what_it_did() -> None:
    assert steering_headline(SWEEP) == (
        "logit_difference: +3.00 logits unsteered, +0.500 at strength −1.5; fluency 1.00, at worst 2.50 nats per token "
        "there"
    )
    assert steering_headline(replace(SWEEP, strengths=(BARE,))) == "logit_difference: +3.00 logits unsteered"
    assert changes_in_words(SWEEP) == ["27:add=1max, max 12.3", "99:set=0, which changed nothing here"]
    assert "from the prompt's last position on" in steering_facts(SWEEP)
    assert steering_facts(SWEEP).endswith("2 prompts; general text: 3 documents")


@pytest.mark.parametrize("text", [True, False])
def test_the_curve_draws_what_was_measured(text: bool) -> None:
    rows = tuple(f if text else replace(f, samples=(), text_kl=None, text_cross_entropy=None) for f in SWEEP.strengths)
    figure = steering_curve(replace(SWEEP, strengths=rows)).to_dict()
    lines = {(t["name"], t["yaxis"]): list(t["y"]) for t in figure["data"] if t["mode"] == "lines+markers"}
    measured = {("prompts", "y"): [0.5, 3.0], ("prompts", "y2"): [0.375, 0.0]}
    of_text = {
        ("general text", "y2"): [0.125, 0.0],
        ("general text", "y3"): [2.5, 2.0],
        ("generated text (fluency)", "y3"): [2.5, 1.0],
    }
    assert lines == (measured | of_text if text else measured)
    (band,) = [t for t in figure["data"] if t["mode"] == "lines"]
    assert list(band["y"]) == [-1.0, 2.0, 4.0, 2.0]
    assert steering_headline(SWEEP)[:20] in figure["layout"]["title"]["text"]
