"""Find a circuit: prompt pairs -> effects of nodes -> nodes and edges -> circuit graph with its certificate."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from attribution.dictionaries.kinds.pursuit import refuse_pursuits
from attribution.edges.chord_edges import chord_edges
from attribution.edges.edges import Edges
from attribution.edges.gradient_edges import gradient_edges
from attribution.effects.decided_nodes import DecidedNodes
from attribution.effects.effects import Effects
from attribution.effects.finite_pairs import refuse_unfinite
from attribution.effects.quadrature import Quadrature
from attribution.methods.registry import METHODS, WALKS_ERRORS, refuse_points
from attribution.prompts.metrics import Metric, logit_difference
from attribution.prompts.position_names import scheme_of
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.pace import Work
from attribution.runs.progress import Progress, Stages, progress_between, silent
from attribution.runs.time_limit import as_long_as_since
from attribution.splice.patch_values import PatchValue, counterfactual, refuse_nothing_to_patch
from attribution.splice.recording import ErrorMode, path_mode
from attribution.splice.spliced_model import SplicedModel
from circuits.discovery.assemble import assemble
from circuits.discovery.certify import CERTIFICATE_STAGES, certify
from circuits.discovery.choosing import Deciding, Ranked, first_nodes, search_nodes
from circuits.discovery.deciding import (
    AUTO_METHOD,
    DEFAULT_BUDGET,
    EFFECTS,
    Decision,
    decide,
    expected_seconds,
)
from circuits.discovery.measuring import (
    MeasuredNodes,
    checked_estimate,
    measure_nodes,
    refuse_verify,
    with_causes,
    with_exact,
    worst_nodes,
)
from circuits.discovery.selection import Selection
from circuits.discovery.stability import DEFAULT_RESAMPLES, Resamples, with_inclusion
from circuits.discovery.stage_costs import OWN_PATHS, StageCosts
from circuits.faithfulness.faithfulness import faithfulness_report
from circuits.ranking.aggregate import Ranking, rank_nodes
from circuits.ranking.aggregate_edges import average_edges
from circuits.ranking.positions import member_keys
from circuits.ranking.question import Question
from circuits.selection.watch import UNWATCHED, Watch
from graphs import Caution, CircuitGraph, Verdict, prune
from graphs.notebook_display import NotebookDisplay
from graphs.short_repr import in_brief
from graphs.site_trial import TrialOfSites
from graphs.words.part_words import OWN, VALIDATION

COMPARED_METHODS = ("atp", "ig", "chord-ig")
"""Methods whose estimates are shown beside the effects of a circuit's nodes."""
FORECAST: Final = "forecast"
STAGES: Final = (
    FORECAST,
    EFFECTS,
    "estimates beside them",
    "search",
    "effects of the circuit's nodes",
    "check of the estimate",
    "edges",
    "pruning",
    OWN_PATHS,
    *CERTIFICATE_STAGES,
)
"""What `discover` does, in this order; a stage that has nothing to do is left out."""
MOST_LOST = 0.01
"""Faithfulness that pruning dangling nodes may cost at most."""
CHECKED_METHOD = "ig"
"""The method that is checked against exact effects: of those above, the one in widest use."""


@dataclass(frozen=True)
class Found(NotebookDisplay):
    """A circuit, and what it rests on.

    Attributes:
        effects: one for each example and node.
        verdict: on the effects, if they were screened by an estimate; else None.
        ranking: all nodes by |mean effect|.
        circuit: with its certificate.
        checked: the verdict on an estimate against exact effects, with the causes of its errors about nodes of the
            circuit. The estimate is that of the screening; IG if every node was patched. None if none was checked.
        decision: what `auto` decided; None for other methods.
    """

    effects: Effects
    verdict: Verdict | None
    ranking: Ranking
    circuit: CircuitGraph
    checked: Verdict | None = None
    decision: Decision | None = None

    @property
    def warnings(self) -> tuple[Caution, ...]:
        """What is no error, but makes less sense than it looks: the warnings of the circuit's certificate."""
        certificate = self.circuit.certificate
        return () if certificate is None else certificate.warnings

    def __repr__(self) -> str:
        checked = "no estimate was checked" if self.checked is None else "with the check of an estimate"
        return f"Found({self.circuit!r}, of {len(self.ranking.nodes):,} nodes; {checked})"


def discover(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric = logit_difference,
    *,
    method: str = "exact",
    budget: float = DEFAULT_BUDGET,
    since: float | None = None,
    verify: int | None = None,
    memory: int | None = None,
    error_mode: ErrorMode | None = None,
    patch_value: PatchValue = counterfactual,
    points: Quadrature | None = None,
    select: Selection = Selection(faithful=0.8),  # noqa: B008  (a frozen value)
    rank_by: str | None = None,
    positions: str = "auto",
    validation: PromptPairs | None = None,
    folds: int | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    least_edge: float = 0.002,
    compare: Sequence[str] = COMPARED_METHODS,
    explained: int = 10,
    splits: Mapping[str, PromptPairs] | None = None,
    trial: TrialOfSites | None = None,
    texts: Mapping[str, Sequence[Sequence[int]]] | None = None,
    after: Mapping[str, Work] | None = None,
    inputs: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    watch: Watch = UNWATCHED,
) -> Found:
    """Measure every node, keep the strongest, join them by edges, prune, and certify what is left.

    Args:
        spliced: the model with its SAEs. `spliced.from_layer(2)` keeps all below as it is, in finding and in judging;
            `spliced.at_sites("resid_post")` has SAEs at these sites only.
        pairs: prompt pairs. Effects and edges are averaged over them, with positions aligned by role.
        metric: what effects are changes of; their unit is the metric's.
        method: a name of `METHODS`, or `auto`: exact patching if its forecast fits the budget, else an estimate that is
            verified (`deciding.py`). The decision depends on the machine and is in `Found.decision`.
        budget: seconds that everything may take. `auto` decides what is done within them; own paths are walked in
            what is left of them.
        since: when that time began, by `time.monotonic()`; by default now.
        verify: how many nodes of an estimate (counted per example) are patched to check it. By default none; with
            `auto` as many as time allows.
        memory: bytes that batches may hold beside the weights, at every stage; by default half of the free memory.
        error_mode: of the effects: `live` by default, `path` for `ig-input` and `chord-ig`. Edges end in features, so
            they meet gates; they are measured in `path` mode (in `zero` mode if this is `zero`).
        patch_value: what nodes are set to. With a patch prompt, edges are chord flow, else plain gradients.
        points: the points of the path, for methods that integrate.
        select: which nodes the circuit has before pruning. By default the fewest that are faithful, as the iterated
            mask path finds them (`circuits/selection/iterated.py`): exact patching changes one node of the intact
            model, so nodes that back each other up look weak, and rankings of such effects need many more nodes.
        rank_by: the method whose ranking `select` chooses from, if it does; by default `method`.
        positions: what a node is: `role` (a feature at a role that the pairs name), `offset` (at a distance from the
            end), `none` (wherever it is active), or `auto`: roles where the pairs name them, else none.
        validation: pairs that choose the size of the circuit.
        folds: without `validation`, choose the size by cross-validation with so many folds; 0 lets the pairs that find
            the circuit choose it. By default 4 with 4 to 31 pairs, else 0.
        resamples: how many circuits are found on resampled pairs; the share of them that have a node or an edge is its
            inclusion rate. Where pairs name several templates, as many are found on resampled templates.
        least_edge: edges below this share of |mean total effect| are pruned, except the strongest of each node.
        compare: methods whose estimates are measured too, for the circuit's nodes. If IG is among them and every node
            was patched, IG is checked.
        explained: for how many of the circuit's flagged nodes the cause and the own path are shown, those with the
            largest errors first, in what is left of the budget and no longer than everything before took, but 5 s
            in any case. The verdict counts those that had to be left out (`unwalked`).
        splits: pairs that judge the circuit, by the name of their split.
        trial: a trial of the sites (`trial_of_sites`), for the certificate.
        texts: general texts (token ids) by name; the quality of the SAEs is measured on them.
        after: what is done with the circuit within the same budget, such as labels: its work, by the name of its stage.
        inputs: what the circuit was made from; stored in it.
        progress: told the share of work done.
        watch: told what `auto` decided, every stage when it begins and how long it is expected to take, what the
            iterated search will cost, and every set on its way (`circuits/selection/watch.py`).

    Raises:
        ValueError: unknown methods; options that exclude each other; an SAE without a gradient; a pair that does not
            fit into memory, or has no finite metric; no node that differs between the prompts. All but the last before
            anything is measured.

    Examples:
        >>> found = discover(spliced, pairs, logit_difference, select=Selection(nodes=20))
        >>> len(found.circuit.strongest()) <= 20, found.circuit.measurement.method
        (True, 'exact_patching')
    """
    refuse_other_types(pairs, metric, patch_value)
    refuse_pursuits(spliced.saes, "discover, for its search and its edges,")
    started = time.monotonic() if since is None else since
    names = tuple(compare) if rank_by is None else (*compare, rank_by)
    _refuse(metric, method, verify, points, least_edge, explained, names, patch_value)
    if rank_by is not None and select.by not in (None, "ranking"):
        raise ValueError(f"A ranking by {rank_by} is for selections by='ranking'; this one is {select.by!r}.")
    if rank_by is not None and select.drop is not None:
        raise ValueError("A share dropped in a round is for the iterated search, which needs no ranking: drop one.")
    refuse_nothing_to_patch(pairs, patch_value)
    question = Question(spliced, pairs, metric, patching_mode(method, error_mode), patch_value, memory)
    searches = select.searches and rank_by is None
    question.room.refuse_if_too_small(method, *names, *(("search",) if searches else ()))
    scheme = scheme_of(pairs, positions)
    others = {**(splits or {}), **({} if validation is None else {VALIDATION: validation})}
    for some in (pairs, *others.values()):
        refuse_unfinite(spliced.model, some, metric)
    deciding, drawn = Deciding.of(pairs, validation, folds), Resamples.of(pairs, resamples)
    costs = StageCosts.of(
        question,
        select,
        compare,
        rank_by,
        None if points is None else len(points.points),
        deciding,
        others,
        texts,
        explained,
        after or {},
        scheme=scheme,
        searches=searches,
    )
    expected: Mapping[str, float] = {}
    decision = None
    if method == AUTO_METHOD:
        watch.enters(FORECAST, None)
        decision = decide(question, budget, verify, costs, spent=time.monotonic() - started)
        watch.decided(decision.sentence)
        method, verify, expected = decision.method, decision.verify, decision.seconds
        compare = compare if decision.compare is None else decision.compare
        select = select if decision.drop is None else replace(select, drop=decision.drop)
    elif watch is not UNWATCHED:
        watch.enters(FORECAST, None)
        expected = expected_seconds(question, method, verify, costs)
    watch.foretells(expected)
    stages = Stages(progress, watch.enters, STAGES, expected)
    rank_by = rank_by or method
    measured = measure_nodes(question, method, verify, points, stages.stage(EFFECTS))
    own = {} if measured.verdict is None or measured.estimate is None else {method: measured.estimate}
    part = stages.stage("estimates beside them")
    estimates = own | _estimates(question, measured, method, (*compare, rank_by), part)
    ranking = rank_nodes(measured.effects, pairs, spliced.model, measured.exact, scheme=scheme)
    part = stages.stage("search")
    if searches:
        picked = search_nodes(question, Ranked(ranking, measured.effects, scheme), select, deciding, drawn, part, watch)
    else:
        by, ranked_by = Ranked(ranking, measured.effects, scheme), method
        if rank_by in estimates:
            chosen_by = estimates[rank_by]
            by = Ranked(rank_nodes(chosen_by, pairs, spliced.model, scheme=scheme), chosen_by, scheme)
            ranked_by = rank_by
        picked = first_nodes(question, by, select, drawn, ranked_by)
    if measured.verdict is not None:
        patched = {w.node for w in picked.nodes.nodes}.union(picked.opponents)
        given = question, measured, ranking.only(patched)
        measured = _with_exact_circuit(*given, stages.stage("effects of the circuit's nodes"))
        ranking = rank_nodes(measured.effects, pairs, spliced.model, measured.exact, scheme=scheme)
    nodes = {weighted.node for weighted in picked.nodes.nodes}
    chosen = ranking.only(nodes)
    estimated = {  # of the circuit's nodes alone: a ranking of all nodes takes about 500 bytes for each
        name: rank_nodes(effects, pairs, spliced.model, scheme=scheme).only(nodes)
        for name, effects in estimates.items()
    }
    part = stages.stage("check of the estimate")
    checked = checked_estimate(question, measured, estimates.get(CHECKED_METHOD), part)
    targets = measured.effects.subset(np.isin(measured.effects.keys(), _keys_of(chosen, question)))
    part = stages.stage("edges", len(targets) / len(pairs) / costs.circuit_places)
    edges = _edges(question, targets, part)
    flow = average_edges(edges, pairs, spliced.model, measured.effects.sites, metric.name, scheme)
    whole = assemble(
        chosen,
        measured,
        ranking,
        edges=edges,
        flow=flow,
        estimates=estimated,
        ranked_by=picked.ranked_by,
        from_layer=spliced.boundary,
        checked=checked,
        inputs=inputs or {},
    )
    least = least_edge * abs(whole.measurement.total_effect)
    circuit = _pruned(question, whole, least, stages)
    if checked is not None:
        to_come = sum(expected.get(stage, 0.0) for stage in (*CERTIFICATE_STAGES, *costs.after))
        limit, worst = as_long_as_since(started, budget - to_come), worst_nodes(circuit, checked, explained)
        share = min(len(worst) / max(1, explained), limit().seconds_left / expected.get(OWN_PATHS, math.inf))
        checked = with_causes(checked, worst, question, measured.effects, limit, stages.stage(OWN_PATHS, share))
    certificate = certify(
        circuit,
        question,
        verdict=measured.verdict,
        effects=measured.effects,
        ranking=picked.order,
        splits=others,
        texts=texts,
        stages=stages,
    )
    certificate = replace(certificate, size_choice=picked.size_with(ranking), trial=trial)
    circuit = replace(circuit, certificate=certificate)
    if picked.resampled is not None:
        circuit = with_inclusion(circuit, picked.resampled, flow, least=least, kept_from=select.stable)
    elif drawn is not None:
        missing = {"stability": "learned masks are not trained again on resampled pairs"}
        certificate = replace(certificate, missing={**(certificate.missing or {}), **missing})
        circuit = replace(circuit, certificate=certificate)
    return Found(measured.effects, measured.verdict, ranking, circuit, checked, decision)


def discover_each(
    spliced: SplicedModel, pairs: PromptPairs, metric: Metric = logit_difference, **options: Any
) -> Iterator[Found]:
    """A circuit of its own for every pair, one after the other; `options` as in `discover`.

    Each pair has the same share of the budget, from when its work begins.

    Examples:
        >>> each = list(discover_each(spliced, pairs, logit_difference, select=Selection(nodes=5), compare=()))
        >>> [one.circuit.measurement.examples for one in each]
        [1, 1]
    """
    progress = options.pop("progress", silent)
    options["budget"], options["since"] = options.get("budget", DEFAULT_BUDGET) / len(pairs), None
    for number, pair in enumerate(pairs):
        part = progress_between(progress, number / len(pairs), (number + 1) / len(pairs))
        yield discover(spliced, PromptPairs((pair,)), metric, progress=part, **options)


def patching_mode(method: str, error_mode: ErrorMode | None) -> ErrorMode:
    """The error mode of the exact patching that a method in `error_mode` is compared with."""
    if error_mode is None:
        return "frozen" if method in WALKS_ERRORS else "live"
    if error_mode == "path" and method in WALKS_ERRORS:
        return "frozen"
    if error_mode not in ("live", "frozen", "zero"):
        raise ValueError(
            f"{method} cannot be measured in error mode {in_brief(error_mode)}. Choose live, frozen or zero."
        )
    return error_mode


def _refuse(
    metric: Metric,
    method: str,
    verify: int | None,
    points: Quadrature | None,
    least_edge: float,
    explained: int,
    compare: Sequence[str],
    patch_value: PatchValue,
) -> None:
    for name in (*(() if method == AUTO_METHOD else (method,)), *compare):
        if name not in METHODS:
            raise ValueError(f"No method {in_brief(name)}. Methods: {AUTO_METHOD}, {', '.join(METHODS)}.")
    if points is not None:
        refuse_points(method)
    refuse_verify(method, verify)
    if not 0 <= least_edge < math.inf:
        raise ValueError(f"The least edge is a share of the total effect, 0 or more; got {least_edge}.")
    if explained < 0:
        raise ValueError(f"The number of explained nodes must be 0 or more; got {explained}.")
    if patch_value is not counterfactual and metric.flat_at_clean:
        raise ValueError(
            f"The gradient of {metric.name} is zero at the clean run, so there would be no edges without a "
            "patch prompt. Use patch value counterfactual, or another metric."
        )


def _with_exact_circuit(
    question: Question, measured: MeasuredNodes, chosen: Ranking, progress: Progress
) -> MeasuredNodes:
    """Patch all nodes of a screened circuit, in every example."""
    keys = _keys_of(chosen, question)
    unknown = measured.effects.keys()[~measured.exact]
    wanted = unknown[np.isin(unknown, keys)]
    if len(wanted) == 0:
        return measured
    exact = question.exact(wanted, progress)
    found = with_exact(measured, exact.keys(), exact.effect)
    return replace(found, effects=DecidedNodes.of(exact).marked(found.effects))


def _keys_of(chosen: Ranking, question: Question) -> np.ndarray:
    """The keys of the chosen nodes in every pair."""
    spliced = question.spliced
    nodes = (w.node for w in chosen.nodes)
    return member_keys(nodes, chosen.positions, question.pairs, spliced.sites, spliced.unspliced_bos)


def _pruned(question: Question, whole: CircuitGraph, least: float, stages: Stages) -> CircuitGraph:
    """The circuit without weak edges, and without dangling nodes unless F then falls by more than `MOST_LOST`."""
    pruned = prune(whole, least=least)
    if not pruned.measurement.pruned:
        return pruned
    stages.stage("pruning")
    own = {OWN: question.pairs}
    given = question.spliced, own, question.metric
    options: dict[str, Any] = {"reference": question.reference, "batch_size": question.room.pairs("exact", 64)}
    try:
        (before,), (after,) = (faithfulness_report(*given, circuit, **options) for circuit in (whole, pruned))
    except ValueError:  # F is undefined, which the certificate says
        return pruned if pruned.strongest() else whole
    if pruned.strongest() and after.faithfulness >= before.faithfulness - MOST_LOST:
        return pruned
    return prune(whole, least=least, keep_dangling=True)


def _edges(question: Question, nodes: Effects, progress: Progress) -> Edges:
    given, room = (question.fitted, question.pairs, question.metric, nodes), question.room
    if question.patch_value is counterfactual:
        mode = path_mode("frozen" if question.error_mode == "live" else question.error_mode)
        about = {"sources": nodes, "error_mode": mode, "runs_at_once": room.runs_of("edges", 32)}
        return chord_edges(*given, **about, batch_size=room.pairs("edges", 32), progress=progress)
    mode, size = "zero" if question.error_mode == "zero" else "frozen", room.pairs("atp", 32)
    return gradient_edges(
        *given, sources=nodes, error_mode=mode, batch_size=size, patch_value=question.patch_value, progress=progress
    )


def _estimates(
    question: Question, measured: MeasuredNodes, method: str, names: Sequence[str], progress: Progress
) -> dict[str, Effects]:
    """Effects by the methods named, without `method` and without those that have no meaning for the question."""
    without = {method, *question.meaningless}
    wanted = [name for n, name in enumerate(names) if name not in without and name not in names[:n]]
    found: dict[str, Effects] = {}
    for number, name in enumerate(wanted):
        part = progress_between(progress, number / len(wanted), (number + 1) / len(wanted))
        found[name] = question.estimate(name, part, checked=CHECKED_METHOD in wanted and bool(measured.exact.all()))
    return found
