"""Faithfulness as numbers: areas by hand, plain data in and out, what is refused, and the figure of curves."""

import json
from dataclasses import replace
from typing import Any

import pytest

from graphs.faithfulness import MIB_SHARES, Faithfulness, FaithfulnessCurve, area_under_curve
from graphs.figures.faithfulness_figures import faithfulness_by_size, faithfulness_by_split


def curve(**changed: Any) -> FaithfulnessCurve:
    """Three shares of a ranking of 100 nodes; F passes 1."""
    usual = FaithfulnessCurve(
        ranking="AtP",
        split="held_out",
        reference="counterfactual",
        errors="nodes",
        metric="logit_difference",
        order="absolute",
        draws=1,
        pairs=60,
        shares=(0.1, 0.5, 1.0),
        sizes=(10, 50, 100),
        faithfulness=(0.2, 1.2, 1.0),
        low=(0.1, 1.1, 1.0),
        high=(0.3, 1.3, 1.0),
        completeness=(0.7, 0.1, 0.0),
        completeness_low=(0.6, 0.0, 0.0),
        completeness_high=(0.8, 0.2, 0.0),
    )
    return replace(usual, **changed)


def one(**changed: Any) -> Faithfulness:
    """6 of 8 logits are kept."""
    usual = Faithfulness(
        split="train",
        pairs=60,
        nodes=25,
        reference="zero",
        errors="kept",
        metric="logit_difference",
        unit="logits",
        m_full=5.0,
        m_empty=-3.0,
        m_circuit=3.0,
        m_rest=-2.0,
        faithfulness=0.75,
        low=0.7,
        high=0.8,
        completeness=0.125,
        completeness_low=None,
        completeness_high=None,
        confidence=0.95,
        resamples=1000,
    )
    return replace(usual, **changed)


def test_areas_are_trapezoids_linear_in_the_share() -> None:
    assert curve().cpr == pytest.approx(0.4 * (0.2 + 1.2) / 2 + 0.5 * (1.2 + 1.0) / 2)
    assert curve().cmd == pytest.approx(0.4 * (0.8 + 0.2) / 2 + 0.5 * (0.2 + 0.0) / 2)


def test_a_perfect_ranking_has_cpr_999_and_cmd_0() -> None:
    ones = (1.0,) * len(MIB_SHARES)
    assert area_under_curve(MIB_SHARES, ones) == pytest.approx(0.999)
    flat: dict[str, Any] = dict.fromkeys(("faithfulness", "low", "high", "completeness"), ones)
    bounds: dict[str, Any] = {"completeness_low": ones, "completeness_high": ones, "sizes": tuple(range(1, 11))}
    perfect = curve(shares=MIB_SHARES, **flat, **bounds)
    assert (perfect.cpr, perfect.cmd) == (pytest.approx(0.999), 0.0)


def test_plain_data_comes_back_the_same() -> None:
    unbounded = curve(low=(None, 1.1, 1.0), high=(None, 1.3, 1.0))
    for made in (curve(), unbounded):
        assert FaithfulnessCurve.from_dict(json.loads(json.dumps(made.as_dict(), allow_nan=False))) == made
    assert Faithfulness.from_dict(json.loads(json.dumps(one().as_dict(), allow_nan=False))) == one()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"errors": "some"}, "`errors` is 'some'; expected one of nodes, kept, removed"),
        ({"order": "falling"}, "There is no order 'falling'"),
        ({"sizes": (10, 50)}, "two or more shares and one entry per share in every column"),
        ({"shares": (0.5, 0.1, 1.0)}, "Shares must rise"),
        ({"faithfulness": (0.2, float("nan"), 1.0)}, "a value that is not finite"),
        ({"low": (0.4, 1.1, 1.0)}, r"0\.4 to 0\.3 is not an interval"),
        ({"low": (None, 1.1, 1.0)}, r"None to 0\.3 is not an interval"),
    ],
)
def test_a_curve_that_does_not_fit_together_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curve(**changed)


@pytest.mark.parametrize("name", ["faithfulness", "completeness"])
def test_a_ratio_that_does_not_follow_from_the_means_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} 0\.9 does not follow from the means"):
        one(**{name: 0.9})


def test_plain_data_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks sizes"):
        FaithfulnessCurve.from_dict({k: v for k, v in curve().as_dict().items() if k != "sizes"})
    with pytest.raises(ValueError, match="has no weight"):
        Faithfulness.from_dict(one().as_dict() | {"weight": 1})
    with pytest.raises(ValueError, match=r"cpr 0\.5 does not follow from the curve"):
        FaithfulnessCurve.from_dict(curve().as_dict() | {"cpr": 0.5})


def test_the_figure_names_the_ranking_that_needs_the_fewest_nodes() -> None:
    slow = curve(ranking="<b>difference", faithfulness=(0.1, 0.3, 1.0), low=(0.0, 0.2, 1.0), high=(0.2, 0.4, 1.0))
    figure: Any = faithfulness_by_size([curve(), slow])
    assert figure.layout.meta["finding"] == "“AtP” needs 50 nodes or fewer for 80% of the model's effect"
    lines = [trace for trace in figure.to_dict()["data"] if trace["mode"] == "lines+markers"]
    assert [trace["name"] for trace in lines if "showlegend" not in trace] == ["AtP", "&lt;b&gt;difference"]
    assert [tuple(trace["y"]) for trace in lines] == [
        curve().faithfulness,
        curve().completeness,
        slow.faithfulness,
        slow.completeness,
    ]
    none: Any = faithfulness_by_size([slow])
    assert none.layout.meta["finding"].startswith("No ranking reaches 80%")


def test_a_band_leaves_out_what_has_no_interval() -> None:
    figure = faithfulness_by_size([curve(low=(None, 1.1, 1.0), high=(None, 1.3, 1.0))])
    band = next(trace for trace in figure.to_dict()["data"] if trace.get("fill") == "toself")
    assert tuple(band["x"]) == (50, 100, 100, 50)
    assert tuple(band["y"]) == (1.1, 1.0, 1.0, 1.3)


def test_curves_of_different_measurements_are_not_drawn_together() -> None:
    with pytest.raises(ValueError, match=r"Curves of different split \(held_out, train\)"):
        faithfulness_by_size([curve(), curve(split="train")])
    with pytest.raises(ValueError, match="No curves"):
        faithfulness_by_size([])


def test_the_circuit_stands_on_the_curves_of_its_splits() -> None:
    own = curve(split="own", faithfulness=(0.3, 1.0, 1.0))
    circuit = one(split="held_out")
    figure = faithfulness_by_split([own, curve()], [circuit])
    drawn = figure.to_dict()["data"]
    lines = [trace for trace in drawn if trace["mode"] == "lines+markers"]
    assert [trace["name"] for trace in lines if "showlegend" not in trace] == ["training prompts", "held out prompts"]
    stars = [trace for trace in drawn if trace["mode"] == "markers"]
    assert [(*trace["x"], *trace["y"]) for trace in stars] == [(25, 0.75), (25, 0.125)]
    assert {trace["marker"]["color"] for trace in stars} == {lines[2]["line"]["color"]} != {lines[0]["line"]["color"]}
    layout: Any = figure.layout
    assert layout.meta["finding"] == "25 nodes alone: 75% of the model's effect on held out prompts"
    with pytest.raises(ValueError, match=r"Curves of different ranking \(AtP, IG\)"):
        faithfulness_by_split([own, curve(ranking="IG")])
