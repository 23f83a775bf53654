"""steering.json: a sweep over steering strengths as plain data, and its page beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from circuits.ablation.ablation_file import write_ablation
from graphs import write_steering_page
from graphs.files.whole_file import whole_file
from graphs.plain_data import as_plain_data
from graphs.sweeps.steering_sweep import SteeredAt, SteeringSweep

SCHEMA: Final = "jumpwire.steering"


def write_sweep(folder: Path, sweep: SteeringSweep, about: Mapping[str, Any], *, title: str) -> Path:
    """Write steering.json, and steering.html beside it, and say where the former is.

    A file of the same `about["arguments"]` is replaced; beside one of others it gets a number, as its page does.
    """
    path = write_ablation(folder / "steering.json", {**about, **sweep_data(sweep)}, SCHEMA)
    with whole_file(path.with_suffix(".html")) as unfinished:
        write_steering_page(sweep, unfinished, title=title)
    return path


def sweep_data(sweep: SteeringSweep) -> dict[str, Any]:
    """The sweep as plain data, with the means of every strength."""
    return {**as_plain_data(sweep), "strengths": [_with_means(found) for found in sweep.strengths]}


def _with_means(found: SteeredAt) -> dict[str, Any]:
    means = {"mean_metric": found.mean_metric, "mean_kl": found.mean_kl, "fluency": found.fluency}
    return {**as_plain_data(found), **means}
