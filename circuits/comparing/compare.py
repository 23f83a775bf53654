"""Compare two circuits: the nodes and edges they share, how their effects agree, and F of each on the other's task.

Nodes are the same if site, kind, feature and name of position are. If only one circuit has positions, or the two have
no name of a position in common, positions are merged (`merge_positions`). Where the SAEs of a site differ, their
features are matched (`matching.py`), and errors are the same by place.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from attribution.checking.agreement import spearman
from attribution.runs.progress import Progress, progress_between, silent
from circuits.comparing.cross_faithfulness import cross_faithfulness
from circuits.comparing.matching import LEAST_CORRELATION, LEAST_COSINE, Match, match_features
from circuits.comparing.notes import of_boundary, of_judging, of_matches, of_positions, of_sites
from circuits.comparing.shared import compared_edges, compared_nodes
from circuits.comparing.side import Side
from circuits.faithfulness.bootstrap import Bootstrap
from circuits.faithfulness.faithfulness import DEFAULT_BOOTSTRAP
from graphs import CircuitGraph, FeatureNode, merge_positions
from graphs.comparison import Comparison, Overlap

_COMPARABLE: Final = ("metric", "unit", "patch_value")


def compare(
    a: CircuitGraph | Side,
    b: CircuitGraph | Side,
    *,
    least_cosine: float = LEAST_COSINE,
    least_correlation: float = LEAST_CORRELATION,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Comparison:
    """What two circuits share, in nodes, edges and effects, and how much of each other's task they do.

    Args:
        a, b: circuits, each alone or as a `Side` with its model and pairs. F is measured where both have them.
        least_cosine, least_correlation: what features of different SAEs must share to match.
        bootstrap: how intervals of F are computed.
        batch_size: pairs in one forward.
        progress: told the share of work done.

    Raises:
        ValueError: no site in common, a circuit without features and errors, or SAEs that differ where the sides lack
            models and pairs to match features with.

    Examples:
        >>> same = compare(Side(found.circuit, spliced, pairs), found.circuit)
        >>> same.node_overlap.jaccard, round(same.spearman, 6)
        (1.0, 1.0)
    """
    sides = Side.of(a, "A"), Side.of(b, "B")
    sites = _common_sites(*sides)
    others, notes = _other_saes(*sides, sites)
    merged = _merged(*sides)
    matches = _matches(*sides, others, least_cosine, least_correlation, progress_between(progress, 0.0, 0.4))
    one, two = (
        merge_positions(side.circuit) if merge else side.circuit for side, merge in zip(sides, merged, strict=True)
    )
    nodes = compared_nodes(one, two, others, matches)
    effects = [(row.effect_a, row.effect_b) for row in nodes]
    comparable, why = _comparable(*sides)
    edges = compared_edges(one, two, others, matches)
    measured, missing = cross_faithfulness(*sides, bootstrap, batch_size, progress_between(progress, 0.4, 1.0))
    shared = np.array([(x, y) for x, y in effects if x is not None and y is not None]).reshape(-1, 2)
    return Comparison(
        names=(sides[0].name, sides[1].name),
        metrics=(one.measurement.metric, two.measurement.metric),
        units=(one.measurement.unit, two.measurement.unit),
        nodes=nodes,
        edges=edges,
        node_overlap=Overlap.of(effects, weighted=comparable),
        edge_overlap=Overlap.of(((e.weight_a, e.weight_b) for e in edges), weighted=comparable),
        spearman=spearman(*shared.T) if comparable else None,
        same_sign=_same_sign(shared) if comparable and len(shared) else None,
        faithfulness=measured,
        merged=merged,
        other_saes=others,
        least_cosine=least_cosine if others else None,
        least_correlation=least_correlation if others else None,
        notes=(
            *of_positions(sides, merged),
            *notes,
            *why,
            *of_sites(sides, sites),
            *of_boundary(sides),
            *of_matches(sides, nodes, others),
            *of_judging(sides),
        ),
        missing=missing,
    )


def _same_sign(effects: np.ndarray) -> float:
    """The share of rows whose two effects have the same sign."""
    return float((np.sign(effects[:, 0]) == np.sign(effects[:, 1])).mean())


def _common_sites(a: Side, b: Side) -> tuple[str, ...]:
    common = tuple(site for site in a.circuit.sites if site in b.circuit.sites)
    if not common:
        raise ValueError(
            f"The circuits have no site in common: {a.name} has {', '.join(a.circuit.sites)}; "
            f"{b.name} has {', '.join(b.circuit.sites)}. Find both with SAEs at the same sites."
        )
    return common


def _other_saes(a: Side, b: Side, sites: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The sites whose SAEs differ, and what that means, in words."""
    hashes = {site: (a.hash_of_sae(site), b.hash_of_sae(site)) for site in sites}
    others = tuple(site for site, (one, two) in hashes.items() if one != two and None not in (one, two))
    if any(None in pair for pair in hashes.values()):
        return others, ["A circuit does not say which SAEs it was found on: features are the same by number."]
    if not others:
        return others, []
    return others, [
        f"The SAEs differ at {len(others)} of {len(sites)} common sites: features there are the same if they match, "
        "errors if they lie at the same site and position."
    ]


def _merged(a: Side, b: Side) -> tuple[bool, bool]:
    """Which of the two need their positions merged, so that both have names in common."""
    if a.without_positions or b.without_positions:
        return not a.without_positions, not b.without_positions
    common = {p.label for p in a.circuit.positions} & {p.label for p in b.circuit.positions}
    return (not common, not common)


def _comparable(a: Side, b: Side) -> tuple[bool, list[str]]:
    """Whether effects of the two are the same kind of number; what differs, in words."""
    one, two = a.circuit.measurement, b.circuit.measurement
    differ = [name for name in _COMPARABLE if getattr(one, name) != getattr(two, name)]
    if differ:
        words = ", ".join(f"{name.replace('_', ' ')} {getattr(one, name)} and {getattr(two, name)}" for name in differ)
        return False, [f"Effects are not compared, only sets: they are of different kinds ({words})."]
    other = [
        f"Effects were measured with {name.replace('_', ' ')} {getattr(one, name)} in {a.name}, "
        f"{getattr(two, name)} in {b.name}."
        for name in ("method", "error_mode")
        if getattr(one, name) != getattr(two, name)
    ]
    return True, other


def _matches(
    a: Side, b: Side, sites: Sequence[str], least_cosine: float, least_correlation: float, progress: Progress
) -> dict[str, tuple[Match, ...]]:
    if not sites:
        return {}
    prompts = list(dict.fromkeys([*a.prompts(), *b.prompts()]))
    if a.spliced is None or b.spliced is None or not prompts:
        raise ValueError(
            f"{a.name} and {b.name} have different SAEs at {sites[0]}, so that a feature's number means nothing across "
            "them. Give each as a Side with its spliced model and pairs, and their features are matched."
        )
    of_a, of_b = (
        {site: sorted({n.index for n in _features(side.circuit) if n.site == site}) for site in sites}
        for side in (a, b)
    )
    return match_features(
        a.spliced,
        b.spliced,
        of_a,
        of_b,
        prompts,
        least_cosine=least_cosine,
        least_correlation=least_correlation,
        progress=progress,
    )


def _features(circuit: CircuitGraph) -> list[FeatureNode]:
    return [w.node for w in circuit.nodes if isinstance(w.node, FeatureNode)]
