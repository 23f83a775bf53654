"""The files that commands leave in a folder. A run of `find` writes

    effects.parquet   the effect of every node in every example
    circuit.json      the circuit with its certificate
    circuit.html      the same as an interactive page
    run.json          arguments, versions, hashes, warnings, counts, seconds, totals
    verdict.json      an estimate held against exact effects, if there was one to check
    labels.json       what the circuit's features stand for, if they were labelled

With --per-pair these are in a folder for each pair, and beside the folders

    index.html        a table of the pairs and their circuits, with a link to the page of each
    index.json        the same as data

They take their places together (`whole_run.py`). `check` and `labels` add theirs; `ablate` writes ablation.json or
causal_test.json, with a number behind the name where other arguments have left one.
"""

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from attribution.effects.effects import Effects
from circuits.commands.shared.earlier_run import portable
from circuits.discovery.discover import Found
from circuits.terminal.resumable import CHUNKS
from circuits.terminal.whole_run import RUN_FILE, Writer, refuse_folders_in_place, write_whole
from graphs import Labels, save_circuit, save_labels, save_verdict, write_page
from graphs.files.whole_file import refuse_unwritable
from graphs.plain_data import as_plain_data

RUN_SCHEMA_VERSION: Final = 1
_MEASURED: Final = ("method", "error_mode", "patch_value", "metric", "metric_unit", "unit", "sign")
_VERSIONS: Final = ("jumpwire", "torch", "transformer-lens", "transformers", "networkx", "plotly")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, and the paths of the files in it."""

    folder: Path

    def refuse_unwritable(self) -> None:
        """Try now, not only when the results are there, whether a run's files and chunks can be written here.

        Raises:
            UnwritableError: they cannot.
        """
        refuse_unwritable(self.folder / CHUNKS)
        refuse_folders_in_place(self.folder)

    @property
    def effects(self) -> Path:
        return self.folder / "effects.parquet"

    @property
    def circuit(self) -> Path:
        return self.folder / "circuit.json"

    @property
    def verdict(self) -> Path:
        return self.folder / "verdict.json"

    @property
    def labels(self) -> Path:
        return self.folder / "labels.json"

    @property
    def run(self) -> Path:
        return self.folder / RUN_FILE

    @property
    def ablation(self) -> Path:
        return self.folder / "ablation.json"

    @property
    def causal_test(self) -> Path:
        return self.folder / "causal_test.json"

    @property
    def page(self) -> Path:
        return self.folder / "circuit.html"


def write_run(
    target: RunFolder,
    found: Found,
    *,
    title: str,
    arguments: Mapping[str, Any],
    hashes: Mapping[str, Any],
    model: Mapping[str, Any],
    seconds: Mapping[str, float],
    chunks: Mapping[str, Any] | None = None,
    labels: Labels | None = None,
    expected: Mapping[str, float] | None = None,
    left_out: Mapping[int, str] | None = None,
    opening: Mapping[str, Any] | None = None,
    answers: Mapping[str, Any] | None = None,
) -> None:
    """Write all files of a run of `find` into its folder, in place of those of an earlier run.

    Args:
        target: where to write.
        found: effects, circuit and verdict.
        title: heading of the page.
        arguments: what the user chose, so that the run can be made again.
        hashes: of the model, the SAEs and the prompts.
        model: what the model proved at load (`ModelReport`).
        seconds: that each stage took so far.
        chunks: how much work was computed and how much reused (`chunks_report`).
        labels: of the circuit's features.
        expected: seconds that each stage was expected to take.
        left_out: what was wrong with each pair that was left out, by its number.
        opening: what opens the prompts, and why.
        answers: the answers and foils of each pair.
    """
    start = time.perf_counter()
    effects = found.effects
    files: dict[str, Writer] = {
        target.circuit.name: partial(save_circuit, found.circuit),
        target.effects.name: effects.write_parquet,
        target.page.name: partial(write_page, found.circuit, title=title, labels=labels, verdict=found.checked),
    }
    if labels is not None:
        files[target.labels.name] = partial(save_labels, labels)
    if found.checked is not None:
        files[target.verdict.name] = partial(save_verdict, found.checked)

    def content() -> dict[str, Any]:
        spent = {**seconds, "write": time.perf_counter() - start}
        return {
            "schema_version": RUN_SCHEMA_VERSION,
            **portable(arguments, target.folder),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
            "hashes": dict(hashes),
            "model": dict(model),
            "opening": opening,
            "expected_seconds": dict(expected or {}),
            "decision": None if found.decision is None else found.decision.record(),
            "answers": answers,
            "warnings": as_plain_data(found.warnings),
            "counts": _counts(found),
            "left_out": {str(row): fault for row, fault in (left_out or {}).items()},
            "chunks": chunks,
            "seconds": {stage: round(s, 3) for stage, s in spent.items()},
            **{name: getattr(effects, name) for name in _MEASURED},
            **_totals(effects),
        }

    write_whole(target.folder, files, content)


def _totals(effects: Effects) -> dict[str, Any]:
    """Clean metric, total effect and residual per example, in `metric_unit`, with their medians and maxima.

    `residual.signed` is the residual, `residual.absolute` its size, `residual.relative` its size as a share of
    |total effect| (null if that is 0). `residual` is null if the method has no law that its effects should obey.
    """
    residual: dict[str, Any] | None = None
    if effects.residual is not None:
        size, total = np.abs(effects.residual), np.abs(effects.total_effect)
        relative = [float(r / t) if t > 0 else None for r, t in zip(size, total, strict=True)]
        residual = {
            "law": effects.residual_law,
            "signed": effects.residual.tolist(),
            "absolute": _summary(size.tolist()),
            "relative": _summary(relative),
        }
    return {
        "clean_metric": _summary(effects.clean_metric.tolist()),
        "total_effect": _summary(effects.total_effect.tolist()),
        "residual": residual,
    }


def _summary(values: list[float] | list[float | None]) -> dict[str, Any]:
    defined = [v for v in values if v is not None]
    return {
        "per_example": values,
        "median": float(np.median(defined)) if defined else None,
        "max": max(defined) if defined else None,
    }


def _counts(found: Found) -> dict[str, int]:
    effects = found.effects
    kinds = {f"{kind}_rows": int(effects.of_kind(kind).sum()) for kind in ("feature", "error", "token")}
    return {
        "examples": len(effects.total_effect),
        "rows": len(effects),
        **kinds,
        "nodes_measured": found.circuit.measurement.nodes_measured,
        "nodes_kept": len(found.circuit.strongest()),
        "nodes_pruned": found.circuit.measurement.pruned,
        "edges_measured": found.circuit.measurement.edges_measured,
        "edges_kept": len(found.circuit.edges),
    }
