"""Chord IG: integrated gradients that see jumps.

    every stretch of network between two spliced sites runs on its own straight line,
    every gate that flips is credited with its actual change (`secant_gates.py`), and
    effect(u) = M(u) · (p_u − c_u),   M(u) = the multipliers of the sweep (`chord_sweep.py`)

    Σ tokens + Σ errors + Σ undivided jumps = m(patch) − m(clean)

up to the quadrature error of smooth stretches, whatever the gates do; the same holds for every cut of the network. q
points cost q forwards and q backwards for all nodes of all sites, batched. A joint attribution shares out the total
effect; what patching one node alone does, only `exact_patching.py` says. Source: METHODS of this project;
multipliers after DeepLIFT [Shrikumar 2017], paths after IG [Sundararajan 2017].
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from attribution.chord.chord_sweep import Sweep, SweepPlan, sweep
from attribution.chord.stretches import Ends
from attribution.effects.effects import Effects, joined
from attribution.effects.measurement import Method, Scores, Situation, measure_beside, node_columns, numpy_of
from attribution.effects.quadrature import Quadrature, gauss_legendre
from attribution.effects.scoring import score_features, scores_from_gradients
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.chunk_file import with_prefix
from attribution.runs.progress import Progress, silent
from attribution.splice.node_keys import NodeColumns
from attribution.splice.patch_values import PatchValue, counterfactual, refuse_without_patch_prompt
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import TOKENS, SplicedModel
from graphs import JumpLedger

SOURCES_AND_JUMPS = "total effect − Σ tokens, errors (in path mode) and undivided jumps"
NAME = "chord_integrated_gradients"
_SMOOTH, _LEDGER = "smooth.", "ledger."


@dataclass(frozen=True)
class ChordAttribution:
    """Chord IG of all nodes, with the evidence of how far it can be trusted.

    Attributes:
        effects: attribution of every node; its residual is that of the whole: total effect minus all sources.
        smooth: for each node of `effects`, the part that passes no flipped gate; the rest, effect − smooth, is the
            jump part. None unless asked for.
        ledger: every gate that differs between the two runs.
        stretches: names of the stretches by what they end at: a site, or `metric`.
        stretch_residual, stretch_points: per example and stretch: residual in units of the metric, points used.
        gross_flow: per example and site, Σ |attribution| of its nodes / |total effect|: how much cancels there;
            infinite if something flows and the total effect is 0.
        rtol: the requested tolerance; None if there was none.
        converged: per example, whether Σ |stretch residuals| <= rtol · |total effect|; None without rtol.
    """

    effects: Effects
    smooth: np.ndarray | None
    ledger: JumpLedger
    stretches: tuple[str, ...]
    stretch_residual: np.ndarray
    stretch_points: np.ndarray
    gross_flow: np.ndarray
    rtol: float | None
    converged: np.ndarray | None

    @property
    def jump(self) -> np.ndarray | None:
        """Each node's part that passes flipped gates; None unless asked for."""
        return None if self.smooth is None else self.effects.effect - self.smooth


def chord_integrated_gradients(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "path",
    patch_value: PatchValue = counterfactual,
    points: Quadrature = gauss_legendre(10),  # noqa: B008  (a frozen value)
    batch_size: int = 4,
    progress: Progress = silent,
) -> Effects:
    """Chord IG of every node: `chord_attribution(...).effects`, with the signature that all methods share."""
    return chord_attribution(
        spliced,
        pairs,
        metric,
        error_mode=error_mode,
        patch_value=patch_value,
        points=points,
        batch_size=batch_size,
        progress=progress,
    ).effects


def chord_attribution(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "path",
    patch_value: PatchValue = counterfactual,
    points: Quadrature = gauss_legendre(10),  # noqa: B008  (a frozen value)
    rtol: float | None = None,
    slope_cap: float = 4.0,
    split: bool = False,
    batch_size: int = 4,
    progress: Progress = silent,
) -> ChordAttribution:
    """Chord IG with its ledger of jumps and the residual of every stretch.

    Args:
        spliced: the model with its SAEs, at any sites.
        pairs: prompt pairs; attributions are per pair, in units of the metric, positive where the metric rises.
        metric: what effects are measured on.
        error_mode: `path` (errors are sources), `zero` (there are none) or `live` (no gate is met).
        patch_value: counterfactual only: a path needs a patch run to end at.
        points: the rule of every stretch.
        rtol: if given, rows of a stretch take a rule of twice the points (and again, up to 80 points) until the
            residuals of all stretches together are at most rtol · |total effect|.
        slope_cap: the steepest secant of a flipped gate, in slopes of an open gate, at least 1; math.inf for none.
        split: also sweep with flipped gates' flow left out, for each node's smooth and jump part (one more
            backward per point).
        batch_size: pairs per batch; a batch runs all points at once.
        progress: told the share of work done.

    Raises:
        ValueError: another patch value, rtol <= 0 or slope_cap < 1; a position that is spliced in one of the two
            prompts only (one opens with a BOS that is not spliced).
    """
    refuse_without_patch_prompt("Chord IG", patch_value)
    plan = SweepPlan(points, rtol, slope_cap, split)

    def score(situation: Situation) -> Scores:
        part, scores = score_chords(situation, plan)
        return replace(scores, beside=part.arrays())

    method = Method(
        NAME,
        score,
        ("path", "zero", "live"),
        SOURCES_AND_JUMPS,
        with_projections=error_mode != "live",
        settings=plan.settings(),
        depends_on=asdict(plan),
        pairs_in_chunk=4,
    )
    effects, beside = measure_beside(
        method,
        spliced,
        pairs,
        metric,
        error_mode=error_mode,
        patch_value=patch_value,
        batch_size=batch_size,
        progress=progress,
    )
    return assembled(effects, [ChordPart.of(arrays) for arrays in beside], spliced, rtol)


def score_chords(situation: Situation, plan: SweepPlan) -> tuple["ChordPart", Scores]:
    """Sweep one batch between its clean run and its patch run (`situation.changes.patch`)."""
    swept = sweep(chord_ends(situation), situation.error_mode, plan, situation.progress)
    return _scored(situation, plan, swept)


def chord_ends(situation: Situation) -> Ends:
    """The clean and the patch run of a situation that has one."""
    clean, changes, batch = situation.clean, situation.changes, situation.batch
    assert changes.patch is not None
    return Ends(
        spliced=situation.spliced,
        clean=clean,
        rows=torch.arange(len(clean.last), device=clean.last.device),
        clean_sites=clean.sites,
        patch_sites=changes.patch.sites,
        tokens=(clean.entry, clean.entry if changes.entry is None else changes.entry),
        reached=batch.reached,
        metric=lambda logits, rows: situation.metric(logits, batch.rows(rows)),
        total=situation.total_effect,
    )


@dataclass(frozen=True)
class ChordPart:
    """One batch of a `ChordAttribution`: everything but the effects."""

    stretches: tuple[str, ...]
    smooth: list[NodeColumns]
    ledger: dict[str, np.ndarray]
    residual: np.ndarray
    points: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """As plain arrays, from which `of` makes it again."""
        smooth = joined(self.smooth) if self.smooth else {}
        return {
            "stretches": np.array(self.stretches, dtype=np.str_),
            "residual": self.residual,
            "points": self.points,
            **{f"{_SMOOTH}{name}": column for name, column in smooth.items()},
            **{f"{_LEDGER}{name}": column for name, column in self.ledger.items()},
        }

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "ChordPart":
        """The part that these arrays were made of."""
        smooth = with_prefix(_SMOOTH, arrays)
        return cls(
            stretches=tuple(map(str, arrays["stretches"])),
            smooth=[smooth] if smooth else [],
            ledger=with_prefix(_LEDGER, arrays),
            residual=arrays["residual"],
            points=arrays["points"],
        )


def _scored(situation: Situation, plan: SweepPlan, swept: Sweep) -> tuple[ChordPart, Scores]:
    full, *others = (_scores(situation, swept, number) for number in range(1 + plan.split))
    jumps = torch.zeros_like(situation.total_effect)
    columns: list[dict[str, Tensor]] = []
    for number, site in enumerate(situation.spliced.sites):
        flow = swept.sites.get(site)
        if flow is not None and flow.flips is not None:
            flips = flow.flips
            jumps = jumps.index_add(0, flips.row, flips.undivided.to(jumps.dtype))
            columns.append(
                {
                    "example": situation.batch.example[flips.row],
                    "site": torch.full_like(flips.row, number),
                    "position": flips.pos,
                    "index": flips.index,
                    "opened": flips.opened > 0,
                    "contribution": flips.contribution,
                    "undivided": flips.undivided,
                }
            )
    sources = jumps if full.tokens is None else jumps + full.tokens.sum(-1)
    if situation.error_mode == "path":
        sources = sources + sum(effect.sum(-1) for effect in full.errors.values())
    sites = (TOKENS, *situation.spliced.sites)
    part = ChordPart(
        stretches=swept.stretches,
        smooth=[c for scores in others for c in node_columns(situation, scores, sites)],
        ledger={name: np.concatenate([numpy_of(c[name]) for c in columns]) for name in (columns[0] if columns else ())},
        residual=numpy_of(swept.residual),
        points=numpy_of(swept.points),
    )
    return part, replace(full, residual=situation.total_effect - sources)


def _scores(situation: Situation, swept: Sweep, number: int) -> Scores:
    multipliers = {site: torch.zeros_like(record.output) for site, record in situation.clean.sites.items()}
    multipliers |= {site: flow.multiplier[number] for site, flow in swept.sites.items()}
    multipliers[TOKENS] = torch.zeros_like(situation.clean.entry) if swept.tokens is None else swept.tokens[number]
    scores = scores_from_gradients(situation, multipliers)
    ends, features = chord_ends(situation), dict(scores.features)
    for site, (change, _) in scores.features.items():
        frame = ends.mean_frame(site)
        if frame is not None:
            features[site] = change, score_features(situation, site, change, multipliers[site], frame=frame)
    return replace(scores, features=features)


def assembled(effects: Effects, parts: list[ChordPart], spliced: SplicedModel, rtol: float | None) -> ChordAttribution:
    """One result from the batches of a sweep and the effects that were made of them."""
    residual = np.concatenate([part.residual for part in parts])
    examples, sites = len(effects.total_effect), len(effects.sites)
    gross = np.bincount(
        effects.example * sites + effects.site, weights=np.abs(effects.effect), minlength=examples * sites
    ).reshape(examples, sites)
    total = np.abs(effects.total_effect)
    smooth = [columns for part in parts for columns in part.smooth]
    return ChordAttribution(
        effects=effects,
        smooth=joined(smooth)["effect"] if smooth else None,
        ledger=JumpLedger.of([part.ledger for part in parts], spliced.sites, effects.total_effect),
        stretches=parts[0].stretches,
        stretch_residual=residual,
        stretch_points=np.concatenate([part.points for part in parts]),
        gross_flow=np.divide(gross, total[:, None], out=np.where(gross > 0, np.inf, 0.0), where=total[:, None] > 0),
        rtol=rtol,
        converged=None if rtol is None else np.abs(residual).sum(1) <= rtol * total,
    )
