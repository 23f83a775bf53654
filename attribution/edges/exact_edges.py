"""Exact edges by path patching: the effect of one node on another over the direct path only.

    x_d'     = what arrives at d's site when u alone is patched and every site in between writes what it wrote
    e(u→d)   = m(do(f_d = E(x_d')_d)) − m(clean)           e(u→metric) = m(u patched, sites in between held) − m(clean)

Always exact. Two partial runs per edge, batched over the edges that join the same two sites. They do not add up,
because gates and layers are not linear. Source: Goldowsky-Dill et al. 2023.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.chord.stretches import METRIC, Section, sections
from attribution.cones.exact_engine import effects_of_patches
from attribution.edges.edges import METRIC_KEY
from attribution.effects.measurement import Situation, numpy_of, prepare
from attribution.effects.patches import Patches, all_patches, feature_patches
from attribution.models.hooks import SiteFunction
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.memory import Room
from attribution.runs.progress import Progress, silent
from attribution.splice.node_keys import node_of_key
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import ErrorMode, FeatureChange
from attribution.splice.resuming import TOKENS, run_between
from attribution.splice.spliced_model import SplicedModel


def exact_edges(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    sources: np.ndarray,
    targets: np.ndarray,
    *,
    error_mode: ErrorMode = "frozen",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    runs_at_once: int | None = None,
    progress: Progress = silent,
) -> np.ndarray:
    """The weight of each edge from sources[n] to targets[n], in units of the metric; positive if the metric rises.

    Args:
        spliced, pairs, metric, patch_value, batch_size, progress: as in `attribution_patching`.
        sources, targets: nodes by key (`Effects.keys`) of the same example, joined by a direct path; a target is a
            feature or METRIC_KEY.
        error_mode: `frozen` or `zero`, the mode of the runs downstream of d.
        runs_at_once: runs in one forward; by default as many as fit into half of the free memory.

    Raises:
        ValueError: another error mode, a source that does not change in its pair, or an edge that has no direct path,
            ends in an error or a token, or joins two examples.
    """
    refuse_other_types(pairs, metric, patch_value)
    if error_mode not in ("frozen", "zero"):
        raise ValueError(f"Exact edges are measured in error mode frozen or zero; got {error_mode!r}.")
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    wanted = _Wanted.of(spliced, np.asarray(sources, np.int64), np.asarray(targets, np.int64))
    runs_at_once = runs_at_once or Room.of(spliced, pairs, error_mode).runs
    weights = np.full(len(wanted.source), np.nan)
    done = 0
    with spliced.model.frozen():
        for batch in pairs.batches(batch_size, spliced.model, metric.positions):
            situation = prepare(spliced, batch, metric, error_mode, patch_value)
            for patch in all_patches(situation, wanted.source):
                for chosen, values in _edges(situation, patch, wanted, runs_at_once):
                    weights[chosen] = values
            done += len(batch.example)
            progress(done / len(pairs))
    if np.isnan(weights).any():
        key = int(wanted.source[np.isnan(weights)][0])
        raise ValueError(f"The source {node_of_key(key, (TOKENS, *spliced.sites))} does not change in its pair.")
    return weights


@dataclass(frozen=True)
class _Wanted:
    """The wanted edges by key; `target_site` is each target's site (or `METRIC`), `section` the network in between."""

    source: np.ndarray
    target: np.ndarray
    target_site: tuple[str, ...]
    section: tuple[Section, ...]

    @classmethod
    def of(cls, spliced: SplicedModel, source: np.ndarray, target: np.ndarray) -> "_Wanted":
        sites, parts = (TOKENS, *spliced.sites), sections(spliced.sites)
        ends: list[tuple[str, Section]] = []
        for source_key, target_key in zip(source.tolist(), target.tolist(), strict=True):
            start = node_of_key(source_key, sites)
            end = None if target_key == METRIC_KEY else node_of_key(target_key, sites)
            if end is not None and (end.kind != "feature" or end.example != start.example):
                raise ValueError(f"No edge leads from {start} to {end}: edges end in features of the same example.")
            where = METRIC if end is None else end.site
            section = next((p for p in parts if _joins(p, start.site, where)), None)
            if section is None:
                raise ValueError(f"No direct path leads from {start} to {end or METRIC}: other sites lie across it.")
            ends.append((where, section))
        return cls(source, target, tuple(site for site, _ in ends), tuple(section for _, section in ends))


def _joins(section: Section, first: str, second: str) -> bool:
    """Whether the first site's output can reach the second within the section."""
    inside = (section.start, *section.inner, section.end)
    leaves, targets = inside[:-1], inside[1:]
    return first in leaves and second in targets and inside.index(first) < inside.index(second)


def _edges(
    situation: Situation, patch: Patches, wanted: _Wanted, runs_at_once: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The wanted edges whose sources are among some patches: their places and their weights."""
    number_of = {key: n for n, key in enumerate(patch.keys(situation).tolist())}
    by_end: dict[tuple[str, Section], list[int]] = {}
    for place, key in enumerate(wanted.source.tolist()):
        if key in number_of:
            by_end.setdefault((wanted.target_site[place], wanted.section[place]), []).append(place)
    for (site, section), places in by_end.items():
        for first in range(0, len(places), runs_at_once):
            chosen = np.array(places[first : first + runs_at_once])
            numbers = torch.tensor([number_of[key] for key in wanted.source[chosen].tolist()]).to(patch.row)
            with torch.no_grad():
                weight = _weights(situation, patch, numbers, section, site, wanted.target[chosen])
            yield chosen, numpy_of(weight)


def _weights(
    situation: Situation,
    patch: Patches,
    numbers: Int[Tensor, " edge"],
    section: Section,
    site: str,
    targets: np.ndarray,
) -> Float[Tensor, " edge"]:
    clean, spliced, rows = situation.clean, situation.spliced, patch.row[numbers]
    arrived: dict[str, Tensor] = {}
    written = {s: clean.sites[s].output[rows] for s in section.inner}
    start = clean.entry[rows] if section.start == TOKENS else clean.sites[section.start].output[rows]
    if patch.site == section.start:
        start = patch.outputs(situation, numbers)
    else:
        written[patch.site] = patch.outputs(situation, numbers)

    def setter(inner: str) -> SiteFunction:
        def function(x: Tensor) -> Tensor:
            arrived[inner] = x
            return written[inner]

        return function

    end = None if section.end == METRIC else section.end
    output = run_between(spliced, clean, rows, section.start, start, {s: setter(s) for s in section.inner}, end)
    if site == METRIC:
        return situation.metric(output, situation.batch.rows(rows)) - situation.clean_metric[rows]
    arrived[section.end] = output
    nodes = [node_of_key(key, (TOKENS, *spliced.sites)) for key in targets.tolist()]
    pos, index = (torch.tensor([getattr(n, name) for n in nodes]).to(rows) for name in ("position", "index"))
    every = torch.arange(len(rows), device=rows.device)
    old = clean.sites[site].features.lookup(rows, pos, index)
    encoding, gates = spliced.saes[site].encode(arrived[site][every, pos]), clean.sites[site].at_threshold
    if gates is not None:
        encoding = gates.keep(encoding, gates.places(rows, pos))
    new = encoding.features[every, index]
    patched = feature_patches(situation, site, FeatureChange(rows, pos, index, old, new))
    return effects_of_patches(situation, patched, every)
