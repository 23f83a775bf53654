"""The checker: an estimate of effects is compared with exact patching, node by node.

    error(u) = estimate(u) − exact(u)

Either all nodes are verified, or a chosen part (`verification.py`): the strongest by |estimate|, those at risk of
flipping a gate downstream (`gates_at_risk.py`), and a random audit of the rest (`audit.py`). The cost is one run for
each verified node, one sweep of chord IG, and the own paths of the flagged nodes that are explained. In `live` mode
effects meet no gate; in `frozen` and `zero` mode they do. The verdict names its mode. A path method in `path` mode is
compared with exact patching in `frozen` mode. Source: METHODS of this project, section 5; the audit follows Kramár et
al. 2024.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from attribution.checking.causes import OWN_PATH_METHODS, crossed_gates, parts_of_error
from attribution.checking.dictionary_cautions import dictionary_cautions
from attribution.checking.own_path import OwnPath, own_paths_in_time
from attribution.checking.pair_cautions import PairCount
from attribution.checking.verdict_of import verdict_of
from attribution.checking.verification import VerifiedNodes, choose_nodes, flagged_nodes
from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.chord.chord_result import ChordAttribution
from attribution.dictionaries.kinds.pursuit import refuse_pursuits
from attribution.effects.effects import Effects
from attribution.effects.measurement import numpy_of, prepare
from attribution.effects.undecided_effects import undecided_effects
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.memory import Room
from attribution.runs.progress import Progress, progress_between, silent
from attribution.runs.time_limit import Limit, TimeLimit, never
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import ErrorMode, path_mode
from attribution.splice.spliced_model import TOKENS, SplicedModel
from graphs import NodeVerdict, Verdict


def check(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    estimate: Effects,
    *,
    patch_value: PatchValue = counterfactual,
    verify: int | None = None,
    threshold: float | None = None,
    exact: Effects | None = None,
    chords: ChordAttribution | None = None,
    seed: int = 0,
    top: int = 20,
    explained: int = 20,
    room: Room | None = None,
    limit: Limit = never,
    progress: Progress = silent,
) -> Verdict:
    """Compare an estimate with exact patching and say where it is wrong and why.

    Args:
        spliced, pairs, metric, patch_value: as they were when the estimate was measured.
        estimate: effects by any method but exact patching.
        verify: number of nodes to verify exactly; None for all.
        threshold: an effect is large if |effect| is at least this, in units of the metric. Default: 1% of the median
            |total effect|.
        exact: exact effects of all nodes, if they are known already.
        chords: chord IG of these pairs in the mode of the check, with smooth and jump parts (`split=True`), if it is
            known already. Otherwise it is swept here, unless effects meet no gate.
        seed: seed of the random audit.
        top: number of strongest nodes that are compared as a set.
        explained: number of flagged nodes, those with the largest errors, whose own paths are walked to find the
            cause. Only AtP and site-path IG need a walk; the errors of other methods are split without one.
        room: batch sizes that fit into memory; by default into half of what is free.
        limit: of the own paths. Those that are not walked when the time is over are counted (`Verdict.unwalked`).
        progress: is called with the share of the work that is done.

    Raises:
        ValueError: the estimate was measured with other pairs, sites or metric, is exact itself, or is not in units of
            the metric; `exact` or `chords` does not belong to it; `verify` or `threshold` is not positive; an SAE has
            no gradient.
    """
    refuse_other_types(pairs, metric, patch_value)
    refuse_pursuits(spliced.saes, "check, which finds the causes of errors along paths,")
    _refuse(spliced, pairs, metric, estimate, patch_value, verify, threshold)
    mode: ErrorMode = "frozen" if estimate.error_mode == "path" else estimate.error_mode  # pyright: ignore
    if exact is not None:
        _refuse_truth(estimate, exact, mode)
    size = threshold if threshold is not None else 0.01 * float(np.median(np.abs(estimate.total_effect)))
    if not size > 0:
        raise ValueError(
            "The median |total effect| is 0, so there is no default threshold. Give one, in units of the metric."
        )
    room = room or Room.of(spliced, pairs, mode)
    room.refuse_if_too_small()
    spliced = room.fitted(spliced)
    work = _Work(spliced, pairs, metric, mode, patch_value, room)
    at_threshold = work.refuse_other_prompts(estimate)
    if chords is None:
        chords = work.chords(progress_between(progress, 0.0, 0.1))
    else:
        work.refuse_other_chords(chords)
    chosen = choose_nodes(
        spliced,
        pairs,
        metric,
        estimate,
        error_mode=mode,
        patch_value=patch_value,
        verify=verify,
        seed=seed,
        batch_size=work.room.pairs("atp"),
        progress=progress_between(progress, 0.1, 0.2),
    )
    truth = exact or work.exact(None if verify is None else chosen.keys, progress_between(progress, 0.2, 0.7))
    verified = VerifiedNodes.of(estimate, truth, chosen)
    found = flagged_nodes(verified, size)
    flagged, unwalked = work.explained(
        verified, found, chords, explained, limit(), progress_between(progress, 0.7, 1.0)
    )
    verdict = verdict_of(spliced, pairs, mode, estimate, verified, flagged, chords, chosen, size, seed, top)
    undecided = undecided_effects(truth.subset(np.isin(truth.keys(), chosen.keys)))
    warnings = (*PairCount.of(pairs).repeated(), *dictionary_cautions(spliced, work.batches()))
    about = {"undecided": undecided, "unwalked": unwalked, "warnings": warnings}
    return replace(verdict, gates_at_threshold=0 if mode == "live" else at_threshold, **about)


@dataclass(frozen=True)
class _Work:
    """What the checker measures besides the estimate."""

    spliced: SplicedModel
    pairs: PromptPairs
    metric: Metric
    mode: ErrorMode
    patch_value: PatchValue
    room: Room

    def batches(self) -> Iterator[PairBatch]:
        """The pairs, as many at a time as exact patching takes."""
        return self.pairs.batches(self.room.pairs("exact"), self.spliced.model, self.metric.positions)

    def refuse_other_prompts(self, estimate: Effects) -> int:
        """Refuse an estimate of other prompts, whose clean metrics or total effects differ from those measured now.

        Returns:
            The number of gates of the clean runs that stand at their threshold.
        """
        at_threshold = 0
        found: list[tuple[np.ndarray, np.ndarray]] = []
        with self.spliced.model.frozen(), torch.no_grad():
            for batch in self.batches():
                now = prepare(self.spliced, batch, self.metric, self.mode, self.patch_value)
                found.append((numpy_of(now.clean_metric), numpy_of(now.total_effect)))
                at_threshold += now.clean.gates_at_threshold
        clean, total = (np.concatenate(column) for column in zip(*found, strict=True))
        for measured, now in ((estimate.clean_metric, clean), (estimate.total_effect, total)):
            if not np.allclose(measured, now, rtol=1e-3, atol=1e-3 * max(np.abs(now).max(), 1e-6)):
                raise ValueError(
                    "The estimate was measured on other prompts or another model: its clean metrics or total effects "
                    "are not those of these pairs. Measure it again."
                )
        return at_threshold

    def refuse_other_chords(self, chords: ChordAttribution) -> None:
        """Refuse chord IG in another error mode, of other pairs or sites, or without its smooth and jump parts."""
        effects, mode = chords.effects, path_mode(self.mode)
        if chords.smooth is None or self.mode == "live" or effects.error_mode != mode:
            raise ValueError(
                f"Chord IG must be swept in error mode {mode}, with split=True, for a check in mode {self.mode}; "
                f"it was swept in {effects.error_mode}, {'without' if chords.smooth is None else 'with'} split."
            )
        if effects.sites != (TOKENS, *self.spliced.sites) or len(effects.total_effect) != len(self.pairs):
            raise ValueError(
                "Chord IG was swept for other sites or pairs than those that are checked. Sweep it for these, or leave "
                "`chords` out."
            )

    def chords(self, progress: Progress) -> ChordAttribution | None:
        """Chord IG with smooth and jump parts; None in `live` mode, or where no patch prompt is used."""
        if self.mode == "live" or self.patch_value is not counterfactual:
            return None
        return chord_attribution(
            self.spliced,
            self.pairs,
            self.metric,
            error_mode=path_mode(self.mode),
            split=True,
            batch_size=self.room.pairs("chord-ig"),
            runs_at_once=self.room.runs_of("chord-ig"),
            progress=progress,
        )

    def exact(self, only: np.ndarray | None, progress: Progress) -> Effects:
        """Exact effects of the nodes with the keys `only`; None for all."""
        return exact_patching(
            self.spliced,
            self.pairs,
            self.metric,
            error_mode=self.mode,
            patch_value=self.patch_value,
            batch_size=self.room.pairs("exact"),
            runs_at_once=self.room.runs,
            bytes_at_once=self.room.cone_bytes,
            only=only,
            in_float64=self.room.holds_float64,
            progress=progress,
        )

    def explained(
        self,
        verified: VerifiedNodes,
        flagged: dict[int, NodeVerdict],
        chords: ChordAttribution | None,
        most: int,
        limit: TimeLimit,
        progress: Progress,
    ) -> tuple[dict[int, NodeVerdict], int]:
        """The flagged nodes by their number among the verified, with the parts of the error and the gates, if known.

        Second, how many of the `most` were not walked because the time was over.
        """
        method = verified.estimate.method
        keys = verified.estimate.keys()
        strongest = sorted(flagged, key=lambda n: -abs(flagged[n].error))
        paths: dict[int, OwnPath] = {}
        walked, unwalked = set(flagged), 0
        if method in OWN_PATH_METHODS and self.mode != "live":
            paths = self._paths(verified.estimate, strongest[:most], limit, progress)
            unwalked = len(strongest[:most]) - len(paths)
            walked = {n for n in strongest[:most] if int(keys[n]) in paths}
        chord_of = None
        if chords is not None:
            chord_of = dict(zip(chords.effects.keys().tolist(), chords.effects.effect.tolist(), strict=True))
        explained = dict(flagged)
        for n in walked:
            verdict, path = flagged[n], paths.get(int(keys[n]))
            chord = None if chord_of is None else chord_of.get(int(keys[n]), 0.0)
            parts = parts_of_error(method, verdict.estimate, verdict.exact, path, chord)
            explained[n] = replace(verdict, parts=parts, gates=() if path is None else crossed_gates(path))
        return explained, unwalked

    def _paths(self, nodes: Effects, numbers: list[int], limit: TimeLimit, progress: Progress) -> dict[int, OwnPath]:
        return own_paths_in_time(
            self.spliced,
            self.pairs,
            self.metric,
            nodes,
            numbers,
            limit,
            runs_at_once=self.room.walked_runs,
            error_mode=self.mode,
            patch_value=self.patch_value,
            batch_size=self.room.pairs("atp"),
            progress=progress,
        )


def _refuse(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    estimate: Effects,
    patch_value: PatchValue,
    verify: int | None,
    threshold: float | None,
) -> None:
    if estimate.method == "exact_patching":
        raise ValueError("These effects are exact already. Check an estimate: AtP, IG, chord IG, ...")
    if estimate.sites != (TOKENS, *spliced.sites):
        raise ValueError(
            f"The estimate was measured at other sites ({', '.join(estimate.sites[1:])}) than those of the SAEs "
            f"({', '.join(spliced.sites)}). Give the model that it was measured on."
        )
    if len(estimate.total_effect) != len(pairs):
        raise ValueError(
            f"The estimate was measured on {len(estimate.total_effect)} pairs, but {len(pairs)} were given. Give the "
            "same pairs."
        )
    if (estimate.metric, estimate.patch_value) != (metric.name, patch_value.name):
        raise ValueError(
            f"The estimate is of {estimate.metric} with patch value {estimate.patch_value}, but {metric.name} with "
            f"patch value {patch_value.name} was given. Give the same metric and patch value."
        )
    if estimate.unit != estimate.metric_unit:
        raise ValueError(
            f"{estimate.method} is in {estimate.unit}, not in units of the metric, so it cannot be compared with exact "
            "effects. Check another method."
        )
    if verify is not None and verify < 1:
        raise ValueError(f"At least 1 node must be verified; got {verify}.")
    refuse_threshold(threshold)


def refuse_threshold(threshold: float | None) -> None:
    """Refuse a threshold that is not positive.

    Raises:
        ValueError: a threshold is given and is not above 0.
    """
    if threshold is not None and not threshold > 0:
        raise ValueError(f"The threshold must be positive, in units of the metric; got {threshold}.")


def _refuse_truth(estimate: Effects, exact: Effects, mode: ErrorMode) -> None:
    if (exact.metric, exact.patch_value) != (estimate.metric, estimate.patch_value):
        raise ValueError(
            f"The exact effects are of {exact.metric} with patch value {exact.patch_value}, but the estimate is of "
            f"{estimate.metric} with patch value {estimate.patch_value}. Measure the exact effects for the estimate's."
        )
    if (exact.method, exact.error_mode) != ("exact_patching", mode):
        raise ValueError(
            f"An estimate in error mode {estimate.error_mode} is checked against exact_patching in mode {mode}, but "
            f"effects of {exact.method} in mode {exact.error_mode} were given."
        )
    same = exact.sites == estimate.sites and len(exact.total_effect) == len(estimate.total_effect)
    if not same or not np.allclose(exact.total_effect, estimate.total_effect, rtol=1e-3):
        raise ValueError(
            "The exact effects were measured at other sites or on other pairs than the estimate. Measure both on the "
            "same."
        )
    changed = ~(estimate.of_kind("feature") & (estimate.clean == estimate.patch))
    lacking = int((~np.isin(estimate.keys()[changed], exact.keys())).sum())
    if lacking > 0.01 * changed.sum():
        raise ValueError(
            f"The exact effects lack {lacking} nodes of the estimate. Give those of all nodes, or leave `exact` out."
        )
