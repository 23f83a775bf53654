"""Who wins the bet on searched codes, from planted numbers; in words and as a figure."""

from typing import Any

import pytest

from graphs.quality.bet_words import bet_in_words, choices_in_words
from graphs.quality.rounding_figure import rounding_figure
from graphs.quality.threshold_rounding import CODES, ChosenFeatures, RoundedCode, ThresholdRounding

SHARES = (0.0, 0.25, 0.5)


def planted(leads: tuple[float, float, float], l0: tuple[float, float, float] = (10, 9.5, 5)) -> ThresholdRounding:
    """Two sites; the pursuit leads by these amounts in each measure, and the encoder has this L0."""
    rows = tuple(
        RoundedCode(site, code, share, l0[n], 1.0 - lead, 0.5, 1.0 - lead, 1.0 - lead)
        for site in ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")
        for code in CODES
        for n, share in enumerate(SHARES)
        for lead in [leads[n] if code == "pursuit" else 0.0]
    )
    choices = (
        ChosenFeatures("blocks.0.hook_mlp_out", 1.0, 0.25, (1.0, 0.9, 0.8), (1.0, 0.5)),
        ChosenFeatures("blocks.1.hook_mlp_out", 1.0, 0.75, (1.0, 0.7), (1.0, 0.7)),
    )
    return ThresholdRounding("a text", 1234, SHARES, rows, choices)


@pytest.mark.parametrize(
    ("leads", "outcome"),
    [
        ((0.2, 0.11, -1.0), "lost"),
        ((0.2, 0.1, 0.2), "open"),
        ((0.2, 0.0, 0.2), "won"),
        ((0.2, -0.1, 0.2), "won"),
        ((0.0, 0.2, 0.2), "void"),
        ((-0.1, 0.2, 0.2), "void"),
    ],
)
def test_the_bet_is_about_what_is_left_where_the_encoder_keeps_its_features(
    leads: tuple[float, float, float], outcome: str
) -> None:
    bet = planted(leads).bet("FVU")
    assert bet.outcome == outcome
    assert bet.share == 0.25
    assert (bet.lead, bet.lead_left) == pytest.approx(leads[:2])


def test_the_threshold_is_the_largest_at_which_the_encoder_keeps_nine_tenths() -> None:
    assert planted((0.2, 0.1, 0.2), (10, 8.9, 5)).bet("KL").share == 0.0
    assert planted((0.2, 0.1, 0.2), (10, 9.9, 9)).bet("KL").share == 0.5


def test_the_answer_is_a_sentence() -> None:
    found = planted((0.2, 0.11, -1.0))
    assert bet_in_words(found.bet("CE increase")) == (
        "The bet is lost: the lead of ITO is not one of small activations (CE increase of the encoder − that of ITO: "
        "+0.2 nats; +0.11 nats with activations below 0.25 of the mean set to 0)"
    )
    assert choices_in_words(found) == (
        "50% of ITO's features are the encoder's, too. Of its choice number 2 those before leave 0.80 (1: orthogonal); "
        "of the encoder's feature of that rank 0.60"
    )


def test_the_figure_has_a_line_for_each_code_and_measure() -> None:
    figure = rounding_figure(planted((0.2, 0.11, -1.0)))
    traces: list[Any] = list(figure.data)
    assert len(traces) == 9
    layout: Any = figure.layout
    assert layout.meta["finding"].startswith("The bet is lost")
    pursuit = [trace for trace in traces if trace.name == "ITO"]
    assert list(pursuit[0].y) == pytest.approx([0.8, 0.89, 2.0])
    assert list(pursuit[2].y) == [10, 9.5, 5]


def test_a_number_that_no_site_has_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"No site has this number for the code 'pursuit' at 0\.3"):
        planted((0.2, 0.1, 0.2)).mean("pursuit", 0.3, lambda row: row.l0)
