"""The checker against a slow twin: exact effects by plain forwards, flags, agreement and parts by their definitions."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from attribution.checking.check import check
from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.attribution_patching_star import attribution_patching_star
from attribution.methods.exact_patching import exact_patching
from attribution.methods.registry import METHODS
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import mean_over, zero
from attribution.splice.spliced_model import ErrorMode
from graphs import Agreement, Verdict
from graphs.verdict import CHOSEN_BY, flag_of
from tests.twins import method_twins as twins
from tests.twins.node_twins import NodeTwin, every_kind_world, nodes_of, of_example
from tests.worlds.tiny_models import PAIRS, World

TWO = PromptPairs(PAIRS.pairs[1:])
PATH_METHODS = ("ig-input", "chord-ig")
CASES = [(name, mode) for name in ("atp", "ig", "ig-input", "chord-ig") for mode in ("frozen", "zero")]


@cache
def mixed() -> World:
    """A world that is curved enough for AtP to be wrong even where no gate is met."""
    return every_kind_world(lambda x: 0.5 * torch.sin(4 * x))


@cache
def estimate_of(name: str, mode: ErrorMode) -> Effects:
    """The estimate by a method, in the mode that is compared with exact patching in `mode`."""
    own = "path" if name in PATH_METHODS and mode == "frozen" else mode
    return METHODS[name](mixed().spliced, TWO, logit_difference, error_mode=own)


@cache
def exact_of(mode: ErrorMode) -> Effects:
    return exact_patching(mixed().spliced, TWO, logit_difference, error_mode=mode)


THRESHOLD = {"frozen": 2e-2, "zero": 1e-3, "live": 1e-4}
EXPLAINED = 4


def checked(estimate: Effects, mode: ErrorMode, **more: Any) -> Verdict:
    settings: dict[str, Any] = {"threshold": THRESHOLD[mode], "explained": EXPLAINED, "exact": exact_of(mode)} | more
    return check(mixed().spliced, TWO, logit_difference, estimate, **settings)


@cache
def verdict_of(name: str, mode: ErrorMode) -> Verdict:
    return checked(estimate_of(name, mode), mode)


@cache
def dense_exact(mode: ErrorMode) -> list[twins.Dense]:
    runs = [(pair, NodeTwin(mixed(), pair, mode).metric) for pair in TWO]
    return [twins.exact_patching(mixed(), pair.clean_ids, pair.patch_ids, m, mode) for pair, m in runs]


def exact_by_twin(mode: ErrorMode, estimate: Effects) -> np.ndarray:
    """One plain forward per node; 0 where the two prompts give a node the same value."""
    dense = dense_exact(mode)
    found: list[float] = []
    for example, node in zip(estimate.example, nodes_of(estimate), strict=True):
        values = dense[example][getattr(node, "site", twins.TOKENS), node.kind]
        place = (node.position, getattr(node, "index", None)) if node.kind == "feature" else (node.position,)
        found.append(float(values[place]))
    return np.array(found)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.sum() / len(a), b - b.sum() / len(b)
    return float((a * b).sum() / ((a * a).sum() * (b * b).sum()) ** 0.5)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, in which equal values share the mean of their places."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def assert_agreement(found: Agreement, estimate: np.ndarray, exact: np.ndarray, threshold: float, top: int) -> None:
    assert found.nodes == len(exact)
    assert found.pearson == pytest.approx(pearson(estimate, exact), rel=1e-9)
    assert found.spearman == pytest.approx(pearson(ranks(estimate), ranks(exact)), rel=1e-9)
    count = min(top, len(exact))
    best = [set(sorted(range(len(v)), key=lambda n: -abs(v[n]))[:count]) for v in (estimate.tolist(), exact.tolist())]
    assert (found.top, found.top_overlap) == (count, len(best[0] & best[1]) / count)
    large = [n for n, e in enumerate(exact) if abs(e) >= threshold]
    assert found.large == len(large)
    assert found.sign_flips == sum(bool(estimate[n] * exact[n] < 0) for n in large)
    assert found.flagged == sum(flag_by_hand(e, x, threshold) is not None for e, x in zip(estimate, exact, strict=True))


def flag_by_hand(estimate: float, exact: float, t: float) -> str | None:
    """The flag by its four definitions, of which no two may hold."""
    one_is_large, other_small = abs(estimate) >= t or abs(exact) >= t, min(abs(estimate), abs(exact)) < t / 2
    ratio = max(abs(estimate), abs(exact)) > 2 * min(abs(estimate), abs(exact))
    signs = estimate * exact < 0
    holds = {
        "sign_flip": abs(exact) >= t and signs,
        "missed": abs(exact) >= t and not signs and abs(estimate) < t / 2,
        "phantom": abs(estimate) >= t and abs(exact) < t / 2,
        "wrong_size": one_is_large
        and not other_small
        and not (abs(exact) >= t and signs)
        and abs(estimate - exact) >= t
        and (ratio or signs),
    }
    names = [name for name, held in holds.items() if held]
    assert len(names) <= 1
    return names[0] if names else None


@pytest.mark.parametrize(
    "ends", [(1.0, 0.2, "phantom"), (0.2, -1.0, "sign_flip"), (0.2, 1.0, "missed"), (0.6, -1.0, "sign_flip")]
)
def test_flags_are_told_apart(ends: tuple[float, float, str]) -> None:
    assert flag_of(ends[0], ends[1], 1.0) == ends[2]


def test_flags_equal_their_definitions_everywhere() -> None:
    seen: set[str | None] = set()
    grid = [n / 4 for n in range(-13, 14)]
    for estimate in grid:
        for exact in grid:
            assert flag_of(estimate, exact, 1.0) == flag_by_hand(estimate, exact, 1.0)
            seen.add(flag_of(estimate, exact, 1.0))
    assert len(seen) == 5


@pytest.mark.parametrize(("name", "mode"), [*CASES, ("atp", "live")])
def test_the_verdict_equals_its_slow_twin(name: str, mode: ErrorMode) -> None:
    estimate, verdict = estimate_of(name, mode), verdict_of(name, mode)
    exact, threshold = exact_by_twin(mode, estimate), THRESHOLD[mode]
    np.testing.assert_array_equal(verdict.estimate, estimate.effect)
    np.testing.assert_allclose(verdict.exact, exact, rtol=1e-6, atol=1e-12)
    # Equal ranks need equal numbers: the definitions are applied to the verdict's own exact effects.
    exact = verdict.exact
    assert verdict.bound is None
    assert verdict.verified == verdict.nodes == len(estimate)
    nodes = nodes_of(estimate)
    flags = [flag_by_hand(e, x, threshold) for e, x in zip(estimate.effect, exact, strict=True)]
    expected = {
        (int(estimate.example[n]), nodes[n], flag, float(estimate.effect[n]), float(exact[n]))
        for n, flag in enumerate(flags)
        if flag is not None
    }
    assert len(expected) >= 3
    assert {(v.example, v.node, v.flag, v.estimate, v.exact) for v in verdict.flagged} == expected
    errors = [abs(v.error) for v in verdict.flagged]
    assert errors == sorted(errors, reverse=True)
    assert_agreement(verdict.overall, estimate.effect, exact, threshold, 20)
    sites = {site: estimate.at(site) for site in estimate.sites}
    assert [a.scope for a in verdict.by_site] == [site for site, mask in sites.items() if mask.any()]
    for found in verdict.by_site:
        assert_agreement(found, estimate.effect[sites[found.scope]], exact[sites[found.scope]], threshold, 20)
    kinds = {sae.kind: site for site, sae in mixed().saes.items()}
    assert {a.scope for a in verdict.by_encoder} == set(kinds)
    for found in verdict.by_encoder:
        mask = sites[kinds[found.scope]]
        assert_agreement(found, estimate.effect[mask], exact[mask], threshold, 20)
    assert (verdict.error_mode, verdict.exact_error_mode) == (estimate.error_mode, mode)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_parts_of_an_error_add_up_to_it(name: str, mode: ErrorMode) -> None:
    """The estimate, the smooth part and the jumps of a path, chord IG and the exact effect are measured separately."""
    verdict = verdict_of(name, mode)
    told = [v for v in verdict.flagged if v.parts is not None]
    walks = name in ("atp", "ig")
    assert told == list(verdict.flagged[:EXPLAINED] if walks else verdict.flagged)
    causes = {"atp": {"curvature", "jump"}, "chord-ig": {"interaction"}}.get(name, {"interaction", "jump"})
    for flagged in told:
        assert flagged.parts is not None
        assert set(flagged.parts) == causes
        scale = max(abs(flagged.exact), abs(flagged.error), *map(abs, flagged.parts.values()))
        # Paths are walked with a tolerance of 1e-5 of the exact effect for each piece.
        allowed = 1e-4 * scale if walks else 1e-9 * scale
        assert sum(flagged.parts.values()) == pytest.approx(flagged.error, abs=allowed)
        assert flagged.cause == max(flagged.parts, key=lambda cause, parts=flagged.parts: abs(parts[cause]))
        assert walks or flagged.gates == ()
    if name != "chord-ig":
        assert verdict.caused_by("jump") > 0


@pytest.mark.parametrize("mode", ["frozen", "zero"])
def test_the_parts_of_input_path_ig_are_its_distances_to_chord_ig_and_of_chord_ig_to_exact(mode: ErrorMode) -> None:
    estimate, chords = estimate_of("ig-input", mode), estimate_of("chord-ig", mode)
    chord_of = dict(zip(chords.keys().tolist(), chords.effect.tolist(), strict=True))
    by_node = {(int(e), n): k for e, n, k in zip(estimate.example, nodes_of(estimate), estimate.keys(), strict=True)}
    verdict = verdict_of("ig-input", mode)
    twin = exact_by_twin(mode, estimate)
    exact_of_key = dict(zip(estimate.keys().tolist(), twin.tolist(), strict=True))
    for flagged in verdict.flagged:
        key = int(by_node[flagged.example, flagged.node])
        chord = chord_of.get(key, 0.0)
        assert flagged.parts is not None
        assert flagged.parts["jump"] == pytest.approx(flagged.estimate - chord, rel=1e-6, abs=1e-12)
        assert flagged.parts["interaction"] == pytest.approx(chord - exact_of_key[key], rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(("name", "mode"), [("atp", "frozen"), ("ig", "zero")])
def test_the_jump_part_is_minus_the_jumps_that_plain_forwards_find(name: str, mode: ErrorMode) -> None:
    verdict = verdict_of(name, mode)
    for flagged in verdict.flagged[:3]:
        jumps = NodeTwin(mixed(), TWO[flagged.example], mode).jumps(flagged.node, cells=256)
        assert flagged.parts is not None
        sizes = [j.size for j in jumps]
        scale = max(abs(flagged.exact), *map(abs, sizes), 0.0)
        assert flagged.parts["jump"] == pytest.approx(-sum(sizes), abs=5e-3 * scale)
        found = {(g.site, g.position, g.index) for g in flagged.gates}
        crossed = {gate for j in jumps for gate in j.flips}
        assert found <= crossed
        assert len(found) >= min(len(crossed), 6)


@pytest.mark.parametrize("mode", ["frozen", "zero"])
def test_the_jump_share_is_that_of_the_split_chords(mode: ErrorMode) -> None:
    own: ErrorMode = "path" if mode == "frozen" else "zero"
    chords = chord_attribution(mixed().spliced, TWO, logit_difference, error_mode=own, split=True)
    assert chords.smooth is not None
    smooth, verdict = np.abs(chords.smooth), verdict_of("atp", mode)
    jump = np.abs(chords.effects.effect - chords.smooth)
    assert verdict.flips == len(chords.ledger) > 0
    assert verdict.overall.jump_share == pytest.approx(jump.sum() / (jump + smooth).sum(), rel=1e-9)
    assert jump.sum() > 0.01 * smooth.sum()
    kinds = {sae.kind: site for site, sae in mixed().saes.items()}
    for found in (*verdict.by_site, *verdict.by_encoder):
        here = chords.effects.at(kinds.get(found.scope, found.scope))
        assert found.jump_share == pytest.approx(jump[here].sum() / (jump + smooth)[here].sum(), rel=1e-9)


def test_nothing_is_put_down_to_jumps_in_live_mode() -> None:
    verdict = verdict_of("atp", "live")
    assert len(verdict.flagged) > 3
    assert (verdict.flips, verdict.overall.jump_share, verdict.caused_by("jump")) == (None, None, 0)
    for flagged in verdict.flagged:
        assert flagged.parts is not None
        assert flagged.parts["jump"] == 0
        assert flagged.parts["curvature"] == pytest.approx(flagged.error, rel=1e-12)


def test_nodes_with_equal_values_count_as_exact_zero() -> None:
    """These features move along the input path, but end where they began."""
    estimate, verdict = estimate_of("ig-input", "frozen"), verdict_of("ig-input", "frozen")
    still = estimate.of_kind("feature") & (estimate.clean == estimate.patch)
    assert still.any()
    assert not np.isin(estimate.keys()[still], exact_of("frozen").keys()).any(), "exact patching has no run for them"
    assert (verdict.exact[still] == 0).all()
    np.testing.assert_array_equal(verdict.chosen_by == CHOSEN_BY.index("unchanged"), still)


def test_exact_effects_are_measured_where_none_are_given() -> None:
    estimate = of_example(estimate_of("atp", "zero"), 1)
    alone = PromptPairs((TWO[1],))
    one = attribution_patching(mixed().spliced, alone, logit_difference, error_mode="zero")
    assert len(one) == len(estimate)
    verdict = check(mixed().spliced, alone, logit_difference, one, explained=0)
    np.testing.assert_allclose(verdict.exact, of_example(exact_of("zero"), 1).effect, rtol=1e-9, atol=1e-14)
    assert verdict.threshold == pytest.approx(0.01 * abs(one.total_effect[0]), rel=1e-12)


@pytest.mark.parametrize("patch_value", ["zero", "mean"])
def test_patch_values_without_a_patch_prompt_have_no_jump_share(patch_value: str) -> None:
    spliced = mixed().spliced
    value = zero if patch_value == "zero" else mean_over(spliced, [p.patch_ids for p in TWO])
    estimate, exact = (
        m(spliced, TWO, logit_difference, error_mode="frozen", patch_value=value)
        for m in (attribution_patching, exact_patching)
    )
    verdict = check(
        spliced, TWO, logit_difference, estimate, patch_value=value, exact=exact, threshold=0.1, explained=2
    )
    assert verdict.patch_value == value.name
    assert (verdict.flips, verdict.overall.jump_share) == (None, None)
    np.testing.assert_array_equal(verdict.exact, exact.effect)
    told = [v for v in verdict.flagged if v.parts is not None]
    assert len(told) == 2
    for flagged in told:
        assert flagged.parts is not None
        scale = max(abs(flagged.exact), abs(flagged.error))
        assert sum(flagged.parts.values()) == pytest.approx(flagged.error, abs=1e-4 * scale)


def test_attribution_patching_star_is_compared_but_not_taken_apart() -> None:
    estimate = attribution_patching_star(mixed().spliced, TWO, logit_difference, error_mode="zero", qk_fix=False)
    verdict = checked(estimate, "zero")
    assert len(verdict.flagged) > 0
    assert all(v.parts is None and v.cause is None for v in verdict.flagged)


def test_chord_ig_that_is_known_already_gives_the_same_verdict() -> None:
    estimate = estimate_of("ig-input", "frozen")
    known = chord_attribution(mixed().spliced, TWO, logit_difference, split=True)
    again, expected = checked(estimate, "frozen", chords=known), verdict_of("ig-input", "frozen")
    assert again.sentence == expected.sentence
    assert again.flagged == expected.flagged
    assert (again.by_site, again.flips) == (expected.by_site, expected.flips)


def test_chord_ig_of_another_mode_or_without_its_parts_is_refused() -> None:
    estimate, given = estimate_of("atp", "frozen"), (mixed().spliced, TWO, logit_difference)
    for known in (chord_attribution(*given), chord_attribution(*given, error_mode="zero", split=True)):
        with pytest.raises(ValueError, match="Chord IG must be swept in error mode path, with split=True"):
            checked(estimate, "frozen", chords=known)
    other = chord_attribution(mixed().spliced, TWO.head(1), logit_difference, split=True)
    with pytest.raises(ValueError, match="swept for other sites or pairs"):
        checked(estimate, "frozen", chords=other)
