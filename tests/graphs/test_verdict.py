"""Verdicts: flags, the sentence, files that give back what went in, figures that show it, a page on its own."""

import json
import re
import shutil
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphs import (
    Verdict,
    error_by_cause,
    estimate_against_exact,
    load_verdict,
    path_trace,
    residual_by_points,
    save_verdict,
    write_verdict_page,
)
from graphs.files.verdict_json import LONGEST_LIST
from graphs.verdict import FLAGS, CrossedGate, Flag, flag_of
from graphs.words.verdict_words import grade_of, jumps_of, key_numbers
from tests.worlds.synthetic_verdicts import HOSTILE, THRESHOLD, edges, live, verdict

USUAL = verdict()
EDGES = edges()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.parametrize(
    ("estimate", "exact", "flag"),
    [
        (0.0, 0.0, None),
        (0.99, -0.99, None),
        (1.0, 0.499, "phantom"),
        (1.0, -0.499, "phantom"),
        (0.499, 1.0, "missed"),
        (-0.499, 1.0, "sign_flip"),
        (0.5, 1.0, None),
        (1.0, 0.5, None),
        (-0.5, 1.0, "sign_flip"),
        (1.0, -0.5, "wrong_size"),
        (3.0, 1.0, "wrong_size"),
        (1.0, 3.0, "wrong_size"),
        (2.0, 1.0, None),
        (-3.0, -1.0, "wrong_size"),
        (1.5, 0.6, None),
        (1.61, 0.6, "wrong_size"),
        (100.0, 60.0, None),
    ],
)
def test_a_flag_starts_where_its_definition_says(estimate: float, exact: float, flag: Flag | None) -> None:
    assert flag_of(estimate, exact, 1.0) == flag
    assert flag_of(-estimate, -exact, 1.0) == flag
    assert flag_of(0.25 * estimate, 0.25 * exact, 0.25) == flag


def test_the_sentence_says_how_many_are_wrong_why_and_what_was_not_checked() -> None:
    assert USUAL.sentence == (
        "IG (10 points) disagrees with patching on 31 of 400 nodes checked (of 4000); "
        f"{USUAL.caused_by('jump')} of the 20 explained nodes because gates flip; "
        f"{USUAL.count('sign_flip')} have the wrong sign; at most 4.4% of unverified nodes exceed 0.05 "
        "(95% confidence)."
    )


def test_the_sentence_of_one_node_and_of_none_flagged() -> None:
    assert EDGES["one node"].sentence == (
        "IG (10 points) disagrees with patching on 1 of 1 node; 1 of them because gates flip; 1 has the wrong sign."
    )
    assert EDGES["no flag"].sentence == (
        "IG (10 points) agrees with patching on all 400 nodes checked (of 4000); "
        "at most 4.4% of unverified nodes exceed 0.05 (95% confidence)."
    )
    assert replace(EDGES["one node"], flagged=()).sentence == "IG (10 points) agrees with patching on the one node."
    assert "on 31 of 400 nodes; " in EDGES["all verified"].sentence
    assert "unverified" not in EDGES["all verified"].sentence


def test_the_sentence_of_flags_that_were_not_explained_names_no_cause() -> None:
    missed = tuple(replace(v, parts=None) for v in USUAL.flagged if v.flag == "missed")
    assert replace(USUAL, flagged=missed, bound=None).sentence == (
        f"IG (10 points) disagrees with patching on {len(missed)} of 400 nodes checked (of 4000); "
        "none has the wrong sign."
    )


def test_the_grade_is_green_without_flags_and_red_with_wrong_signs_only() -> None:
    assert grade_of(EDGES["no flag"]) == "green"
    assert grade_of(USUAL) == "red"
    assert grade_of(replace(USUAL, flagged=tuple(v for v in USUAL.flagged if v.flag != "sign_flip"))) == "amber"


def test_gates_at_their_threshold_are_a_number_where_there_are_any_and_an_older_file_has_none(tmp_path: Path) -> None:
    labels = [[n.label for n in key_numbers(v)] for v in (USUAL, replace(USUAL, gates_at_threshold=2))]
    assert [n for n in labels[1] if n not in labels[0]] == ["gates at their threshold"]
    save_verdict(USUAL, tmp_path / "v.json")
    content = json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))
    assert content.pop("gates_at_threshold") == 0
    (tmp_path / "v.json").write_text(json.dumps(content), encoding="utf-8")
    assert load_verdict(tmp_path / "v.json").gates_at_threshold == 0


def test_gates_that_flip_together_share_one_jump() -> None:
    gate = CrossedGate("s", 1, 2, True, 0.5, -0.3)
    jumps = jumps_of((replace(gate, alpha=0.1, size=0.2), gate, replace(gate, index=3)))
    assert [(j.alpha, j.size, len(j.gates)) for j in jumps] == [(0.5, -0.3, 2), (0.1, 0.2, 1)]


def test_key_numbers_say_that_nothing_is_known_where_nothing_was_measured() -> None:
    def value(made: Verdict, label: str) -> tuple[str, str]:
        return next((n.value, n.reading) for n in key_numbers(made) if n.label == label)

    assert value(live(USUAL), "carried by jumps") == ("–", "no gate is met")
    assert value(EDGES["all verified"], "not checked") == ("none", "every node was checked")
    assert value(replace(USUAL, bound=None), "not checked") == ("no bound", "nothing is known about the other nodes")
    assert value(EDGES["one node"], "Pearson")[0] == "–"
    assert value(EDGES["one node"], "wrong sign")[0] == "none"


def same(one: Verdict, other: Verdict) -> bool:
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(Verdict)]
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)


@pytest.mark.parametrize("name", EDGES)
def test_json_and_back_is_the_same_verdict_and_the_same_bytes(name: str, tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    save_verdict(EDGES[name], first)
    loaded = load_verdict(first)
    assert same(loaded, EDGES[name])
    assert loaded.sentence == EDGES[name].sentence
    save_verdict(loaded, second)
    assert first.read_bytes() == second.read_bytes()


def test_single_precision_columns_come_back_with_every_digit(tmp_path: Path) -> None:
    single = replace(USUAL, exact=USUAL.exact.astype(np.float32), site=USUAL.site.astype(np.int16))
    save_verdict(single, tmp_path / "v.json")
    loaded = load_verdict(tmp_path / "v.json")
    np.testing.assert_array_equal(loaded.exact, single.exact)
    assert (loaded.exact.dtype, loaded.site.dtype) == (np.float64, np.int64)


def test_long_columns_are_packed_and_come_back_with_every_digit(tmp_path: Path) -> None:
    """Every type: whole numbers of one, two and four bytes, reals of single and of double precision."""
    count = LONGEST_LIST + 1
    draw = np.random.default_rng(0)
    large = replace(
        USUAL,
        examples=20 * count,
        nodes=count,
        total_effect=(1.0,) * 20 * count,
        tokens=(),
        example=np.arange(count) * 20,
        site=draw.integers(0, len(USUAL.sites), count),
        position=draw.integers(0, 300, count),
        **{name: np.ones(count, np.int64) for name in ("kind", "index", "chosen_by")},
        estimate=draw.standard_normal(count),
        exact=draw.standard_normal(count).astype(np.float32),
    )
    save_verdict(large, tmp_path / "v.json")
    columns = json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))["columns"]
    types = {name: columns[name]["dtype"] for name in ("site", "position", "example", "exact", "estimate")}
    assert types == {"site": "|i1", "position": "<i2", "example": "<i4", "exact": "<f4", "estimate": "<f8"}
    loaded = load_verdict(tmp_path / "v.json")
    assert same(loaded, large)
    assert (loaded.exact.dtype, loaded.site.dtype) == (np.float64, np.int64)


def test_a_file_of_the_first_version_is_read_and_names_no_positions(tmp_path: Path) -> None:
    content = {k: v for k, v in content_of(tmp_path).items() if k != "names"} | {"schema_version": 1}
    loaded = load_verdict(written(tmp_path, content))
    assert same(loaded, USUAL)
    assert loaded.names == ()


def test_a_number_that_json_cannot_hold_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        save_verdict(replace(USUAL, total_effect=(float("nan"),)), tmp_path / "v.json")
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        save_verdict(replace(USUAL, exact=np.full_like(USUAL.exact, np.inf)), tmp_path / "v.json")


def content_of(tmp_path: Path) -> dict[str, Any]:
    save_verdict(USUAL, tmp_path / "v.json")
    return json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))


def written(tmp_path: Path, content: Any) -> Path:
    (tmp_path / "v.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "v.json"


def test_a_file_of_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    content = content_of(tmp_path)
    assert (content["schema"], content["schema_version"]) == ("jumpwire.verdict", 2)
    with pytest.raises(ValueError, match="not a verdict file of jumpwire"):
        load_verdict(written(tmp_path, content | {"schema": "jumpwire.circuit"}))
    with pytest.raises(ValueError, match="not a verdict file of jumpwire"):
        load_verdict(written(tmp_path, []))
    with pytest.raises(ValueError, match="schema version 3; this version of jumpwire reads 1, 2"):
        load_verdict(written(tmp_path, content | {"schema_version": 3}))


def test_a_file_that_lacks_something_says_what(tmp_path: Path) -> None:
    content = content_of(tmp_path)
    without = {k: v for k, v in content.items() if k != "threshold"}
    columns = {k: v for k, v in content["columns"].items() if k != "exact"}
    node = {k: v for k, v in content["flagged"][0].items() if k != "example"}
    for changed, match in (
        (without, r"v\.json: a Verdict lacks threshold"),
        (content | {"mood": "good"}, "a Verdict has no mood"),
        (content | {"columns": columns}, "the columns lack exact"),
        (content | {"columns": columns | {"exact": "0.0"}}, "neither a list nor packed"),
        (content | {"columns": columns | {"exact": {"dtype": "<i2", "zlib_base64": ""}}}, "neither a list nor packed"),
        (content | {"columns": columns | {"exact": {"dtype": "<f4", "zlib_base64": "AAAA"}}}, "column is damaged"),
        (content | {"columns": columns | {"exact": [0.0]}}, "the columns have different lengths"),
        (content | {"flagged": [node]}, "a NodeVerdict lacks example"),
        (content | {"flagged": [node | {"flag": "odd"}]}, "flag 'odd'; expected one of sign_flip, missed"),
        (
            content | {"flagged": [{**content["flagged"][0], "parts": {"luck": 1.0}}]},
            "cause 'luck'; expected one of curvature",
        ),
        (content | {"flagged": [{**content["flagged"][0], "node": {"kind": "neuron"}}]}, "kind 'neuron'"),
        (content | {"sites": content["sites"][:2]}, "a site that the verdict does not list"),
    ):
        with pytest.raises(ValueError, match=match):
            load_verdict(written(tmp_path, changed))


def named(figure: Any, start: str) -> Any:
    """The trace whose name starts so; plotly builds its classes too dynamically to be typed."""
    return next(trace for trace in figure.data if str(trace.name).startswith(start))


def finding(figure: Any) -> str:
    return figure.layout.meta["finding"]


def test_every_flagged_node_is_ringed_once_and_every_verified_one_is_a_dot() -> None:
    figure: Any = estimate_against_exact(USUAL)
    rings = [trace for trace in figure.data if str(getattr(trace.marker, "symbol", "")).endswith("-open")]
    assert len(rings) == len(FLAGS)
    assert sum(len(trace.x) for trace in rings) == len(USUAL.flagged) == 31
    dots = named(figure, "checked")
    np.testing.assert_allclose(THRESHOLD * np.sinh(dots.x), USUAL.exact)
    np.testing.assert_allclose(THRESHOLD * np.sinh(dots.y), USUAL.estimate)


def test_ticks_stand_where_their_labels_say() -> None:
    figure: Any = estimate_against_exact(USUAL)
    axis = figure.layout.xaxis
    labels = [float(text.replace("−", "-")) for text in axis.ticktext]
    np.testing.assert_allclose(THRESHOLD * np.sinh(axis.tickvals), labels, atol=1e-12)
    assert axis.range[0] <= min(axis.tickvals)
    assert max(np.arcsinh(np.abs(USUAL.exact) / THRESHOLD)) <= axis.range[1]


@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_no_node_stands_outside_the_axes_whatever_the_signs(sign: int) -> None:
    """With one sign only, the axis ends soon after 0 on the other side."""
    one_sign = {"estimate": sign * np.abs(USUAL.estimate), "exact": sign * np.abs(USUAL.exact)}
    figure: Any = estimate_against_exact(replace(USUAL, **one_sign, flagged=()) if sign else USUAL)
    low, high = figure.layout.xaxis.range
    dots = named(figure, "checked")
    assert low < min(*dots.x, *dots.y) <= max(*dots.x, *dots.y) < high
    assert tuple(figure.layout.yaxis.range) == (low, high)
    if sign:
        assert sign * (high + low) > 1


def test_only_the_strongest_of_very_many_nodes_are_drawn_and_the_figure_says_so() -> None:
    many = verdict(nodes=3100)
    figure: Any = estimate_against_exact(many)
    assert len(named(figure, "checked").x) == 3000
    assert "The 100 weakest nodes are not drawn." in figure.layout.meta["reading"]


def test_bars_add_up_to_the_errors_and_to_the_flags() -> None:
    figure: Any = error_by_cause(USUAL)
    explained = [v.parts for v in USUAL.flagged if v.parts is not None]
    jump = sum(abs(parts["jump"]) for parts in explained)
    assert sum(named(figure, "gates that flip").x) == pytest.approx(jump)
    counts = {t.name: sum(t.x) for t in figure.data if t.legend == "legend2"}
    assert sum(counts.values()) == 31
    assert counts["wrong sign"] == USUAL.count("sign_flip")
    share = jump / sum(abs(part) for parts in explained for part in parts.values())
    assert finding(figure) == f"Gates that flip make up {share:.0%} of the error of the 20 explained nodes"


def test_a_path_shows_the_metric_its_slope_its_margins_and_where_it_jumps() -> None:
    figure: Any = path_trace(USUAL, 0)
    trace, found = USUAL.traces[0], USUAL.flagged[0]
    metric = named(figure, "metric")
    assert metric.y[-1] == pytest.approx(found.exact)
    assert tuple(named(figure, "slope: ").y) == trace.slope
    jump = sum(j.size for j in jumps_of(found.gates))
    assert named(figure, "integral of the slope").y[-1] == pytest.approx(found.exact - jump)
    assert len([t for t in figure.data if t.yaxis == "y3"]) == len(trace.margins)
    lines = {shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1}
    assert lines == {gate.alpha for gate in found.gates}
    assert finding(figure).startswith("At α = 0.63, 2 gates flip together")
    with pytest.raises(LookupError, match="no trace 2: the verdict has 2"):
        path_trace(USUAL, 2)


def test_a_path_without_its_gates_claims_nothing() -> None:
    lost = replace(USUAL, flagged=())
    assert finding(path_trace(lost, 0)) == "The metric on a node's own path"
    smooth = replace(USUAL, flagged=(), traces=(replace(USUAL.traces[0], margins={}),))
    assert finding(path_trace(smooth, 0)).startswith("No gate flips")


def test_residuals_are_drawn_as_they_are_and_zero_on_the_lower_edge() -> None:
    curve = USUAL.residuals[1]
    figure: Any = residual_by_points(USUAL)
    assert tuple(named(figure, "chord IG, median").y) == curve.median
    assert tuple(named(figure, "chord IG, largest").x) == curve.points
    done = replace(curve, median=(*curve.median[:-1], 0.0))
    figure = residual_by_points(replace(USUAL, residuals=(done,)))
    assert named(figure, "chord IG, median").y[-1] == pytest.approx(1e-4)
    assert named(figure, "chord IG, median").customdata[-1] == 0
    assert "A residual of 0 is drawn at the lower edge." in figure.layout.meta["reading"]


def figures(made: Verdict) -> list[Any]:
    traces = [path_trace(made, n) for n in range(len(made.traces))]
    return [estimate_against_exact(made), error_by_cause(made), residual_by_points(made), *traces]


@pytest.mark.parametrize("name", EDGES)
def test_every_figure_has_a_finding_and_names_on_its_axes_and_no_tags_of_others(name: str) -> None:
    for figure in figures(EDGES[name]):
        assert finding(figure)
        assert figure.layout.meta["reading"]
        assert figure.layout.title.text
        layout = figure.layout.to_plotly_json()
        assert any(layout[axis].get("title", {}).get("text") for axis in layout if axis.startswith("xaxis"))
        assert layout["yaxis"]["title"]["text"]
        layout.pop("meta")
        assert "<script" not in json.dumps([layout, [t.to_plotly_json() for t in figure.data]], default=str)


def page_of(made: Verdict, path: Path, title: str = "a title") -> str:
    """The page without plotly's own code."""
    write_verdict_page(made, path, title=title)
    page = path.read_text(encoding="utf-8")
    scripts = re.findall(r"<script[^>]*>.*?</script>", page, flags=re.DOTALL)
    return page.replace(max(scripts, key=len), "")


@pytest.mark.parametrize("name", EDGES)
def test_a_page_refers_to_nothing_outside_itself(name: str, tmp_path: Path) -> None:
    page = page_of(EDGES[name], tmp_path / "v.html")
    assert not re.search(r"https?://|//cdn|\ssrc=|\shref=|@import|url\(|<link|<iframe", page)
    assert "default-src 'none'" in page


def test_a_page_shows_the_sentence_the_numbers_and_every_table(tmp_path: Path) -> None:
    page = page_of(USUAL, tmp_path / "v.html")
    assert USUAL.sentence in page
    assert '<body class="red">' in page
    assert page.count("<tr><td><code>") == 31
    assert page.count('class="plotly-graph-div"') == 5
    for number in key_numbers(USUAL):
        assert f"<th>{number.label}</th><td>{number.value}</td>" in page


def test_a_page_lists_the_strongest_fifty_and_says_of_how_many(tmp_path: Path) -> None:
    page = page_of(verdict(wrong=80), tmp_path / "v.html")
    assert page.count("<tr><td><code>") == 50
    assert "The 50 largest errors of 80 flagged nodes" in page


def test_labels_cannot_write_into_the_page(tmp_path: Path) -> None:
    page = page_of(EDGES["hostile"], tmp_path / "v.html", title=HOSTILE)
    assert "alert(" in page
    assert "<script>alert" not in page


def test_the_same_verdict_gives_the_same_page(tmp_path: Path) -> None:
    assert page_of(USUAL, tmp_path / "a.html") == page_of(verdict(), tmp_path / "b.html")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
@pytest.mark.parametrize("name", ["usual", "hostile", "one node"])
def test_a_page_opens_in_a_browser_without_a_complaint(name: str, tmp_path: Path) -> None:
    made = EDGES[name]
    write_verdict_page(made, tmp_path / "v.html", title=name)
    seen = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=8000"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"),
            (tmp_path / "v.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in seen.stderr, seen.stderr
    assert seen.stdout.count('<svg class="main-svg"') >= 2 * (2 + bool(made.residuals) + len(made.traces))


def test_a_packed_column_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = verdict(nodes=6_000, wrong=4)
    save_verdict(made, tmp_path / "v.json")
    assert load_verdict(tmp_path / "v.json").nodes == made.nodes
    monkeypatch.setattr("graphs.files.verdict_json.MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"v\.json: a packed column is damaged: it is cut off, or has more than 1,000"):
        load_verdict(tmp_path / "v.json")
