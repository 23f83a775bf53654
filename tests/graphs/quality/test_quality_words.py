"""Qualities in words, as a file, and in figures: every number is there, what is undefined is a dash."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from graphs import Histogram, save_qualities, scale_biases
from graphs.quality.quality_words import bars, equal_l0_table, quality_headline, quality_tables
from tests.worlds.qualities import at_site, dictionaries, elsewhere, finding_of, quality


def test_the_headline_names_both_baselines_and_both_distances() -> None:
    assert quality_headline(quality("mine")) == (
        "mine: the dictionary at L0 resid_post raises the cross-entropy of the next token by 0.100 nats (CE recovered: "
        "98.3% of zero ablation, 97.5% of mean ablation), and stands 0.200 nats from the model (KL)."
    )


def test_tables_have_every_number() -> None:
    two = quality("mine", "a", at_site(), at_site("blocks.1.hook_mlp_out"))
    reconstruction, predictions, parameters = quality_tables(two)
    assert reconstruction.rows[1] == (
        *("L1 mlp_out", "8", "10.0", "0.1000", "0.9500", "0.900", "0.810", "0.900"),
        *("1 (12%)", "2 (25%)"),
    )
    assert predictions.rows[2] == ("all 2 together", "+0.1000", "98.33%", "97.50%", "0.2000", "96.67%", "95.00%")
    assert parameters.rows[0] == ("L0 resid_post threshold", "0.1", "0.2", "0.9", "█▃")
    for table in quality_tables(two):
        assert all(len(row) == len(table.heads) for row in table.rows)


def test_what_is_undefined_is_a_dash() -> None:
    nothing = replace(at_site(fvu=None), gamma=None, rho=None)
    row = quality_tables(quality("mine", "a", nothing))[0].rows[0]
    assert (row[3], *row[5:8]) == ("–", "–", "–", "–")
    assert finding_of(scale_biases(quality("mine", "a", nothing))).endswith("is undefined")


def test_an_unbiased_scale_is_told_from_what_a_reconstruction_carries() -> None:
    unbiased = replace(at_site(), gamma=1.0, rho=0.8)
    finding = finding_of(scale_biases(quality("mine", "a", unbiased)))
    assert finding == "No reconstruction is shrunken (γ within 1% of 1), and yet ρ is as low as 0.800"
    assert finding_of(scale_biases(quality())).startswith("γ lies between 0.900 and 0.900")


def test_bars_show_whatever_is_there() -> None:
    assert bars(Histogram((0.0, 1.0, 2.0, 3.0), (1000, 0, 1), 0.0, 0.0, 3.0)) == "█ ▁"
    assert bars(Histogram((0.0, 1.0), (0,), None, None, None)) == " "


def test_the_table_at_equal_l0_has_a_column_for_each_family() -> None:
    table = equal_l0_table([*dictionaries("a", (10.0, 0.3), (20.0, 0.2)), *dictionaries("b", (15.0, 0.2))])
    assert table.heads[3:] == ("a", "b")
    assert table.rows[0] == ("b 15, L0 resid_post", "15.0", "FVU", "0.2500", "0.2000")


def test_the_file_has_all_numbers_and_the_comparison(tmp_path: Path) -> None:
    found = [*dictionaries("a", (10.0, 0.3), (20.0, 0.2)), *dictionaries("b", (15.0, 0.2))]
    save_qualities(found, tmp_path / "q.json")
    content = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))
    assert content["schema"] == "jumpwire.dictionary_quality"
    assert content["dictionaries"][2]["sites"][0]["alone"]["ce_recovered_of_mean"] == pytest.approx(0.975)
    assert content["at_equal_l0"][0]["values"] == pytest.approx({"a": 0.25, "b": 0.2})
    with pytest.raises(ValueError, match="measure both on the same"):
        save_qualities([found[0], elsewhere(found[1])], tmp_path / "q.json")
