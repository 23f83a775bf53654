"""`jumpwire rank`: every node's effect averaged over a dataset of any length, with the examples where it does most."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from circuits.console import quiet_libraries
from circuits.find_command import quadrature, refuse_unknown
from circuits.inputs import Inputs
from graphs.merge_positions import EVERYWHERE
from graphs.node import short_site

if TYPE_CHECKING:
    from attribution.prompt_pairs import PromptPair
    from attribution.splice import SplicedModel
    from circuits.dataset import DatasetRanking

PATCHES = ("counterfactual", "zero")
"""A mean over a dataset would have to be known before it is read."""


@dataclass(frozen=True)
class RankOptions:
    """How nodes are measured and averaged; None where a default stands."""

    method: str = "chord-ig"
    error: str | None = None
    patch: str = "counterfactual"
    metric: str = "logit_difference"
    points: int | None = None
    rule: str | None = None
    at_once: int = 32
    together: bool = False
    strongest: int = 5
    rows: int = 15
    out: str | None = None


def rank(console: Console, inputs: Inputs, options: RankOptions) -> None:
    """The whole command."""
    with console.status("loading"):
        import pyarrow.parquet as pq

        from circuits.dataset import rank_dataset
        from circuits.replacing import replacing

        quiet_libraries()
        measure = _measure(options)
        target = Path(options.out or Path("out") / f"{inputs.name}-rank.parquet")
        if target.is_dir():
            raise ValueError(f"--out {target} is a folder: give the file to write, as in {target / 'rank.parquet'}.")
        target.parent.mkdir(parents=True, exist_ok=True)
    with console.status("loading the model and its SAEs"):
        spliced = inputs.load_spliced()
    columns = SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.fields[rate]}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(f"{options.method}, 0 pairs", total=None, rate="")

        def done(count: int) -> None:
            elapsed = progress.tasks[bar].elapsed or 1e-9
            progress.update(bar, description=f"{options.method}, {count} pairs", rate=f"{count / elapsed:.1f} a second")

        found = rank_dataset(
            _pairs(inputs, spliced),
            spliced.model,
            lambda few: measure(spliced, few),
            at_once=options.at_once,
            together=options.together,
            strongest=options.strongest,
            done=done,
        )
    with replacing(target) as path:
        pq.write_table(found.table(), path, compression="zstd")
    _print(console, found, options, target)


def _measure(options: RankOptions) -> Any:
    """The method with its options, a callable of model and pairs; refused here if there is no such choice."""
    from attribution.methods import METHODS, options_of, refuse_points
    from attribution.metric import METRICS
    from attribution.patch_values import counterfactual, zero

    known = {"method": tuple(METHODS), "metric": tuple(METRICS), "patch": PATCHES}
    refuse_unknown({name: getattr(options, name) for name in known}, known)
    if options.points or options.rule:
        refuse_points(options.method)
    points = quadrature(options.points, options.rule, options.method)
    settings: dict[str, Any] = dict(options_of(options.method, options.error, points))  # pyright: ignore
    settings["patch_value"] = zero if options.patch == "zero" else counterfactual
    return lambda spliced, few: METHODS[options.method](spliced, few, METRICS[options.metric], **settings)


def _pairs(inputs: Inputs, spliced: "SplicedModel") -> "Iterator[PromptPair]":
    """A JSONL file is read as it is needed; other files and tasks are small."""
    from attribution.pair_stream import pair_stream

    if inputs.pairs is not None and Path(inputs.pairs).suffix == ".jsonl":
        return islice(pair_stream(inputs.pairs, spliced.model, splice_bos=spliced.splice_bos), inputs.examples)
    return iter(inputs.prompts(spliced.model))


def _print(console: Console, found: "DatasetRanking", options: RankOptions, target: Path) -> None:
    ranking = found.ranking
    console.print(
        f"{len(ranking.nodes)} nodes over {found.examples} pairs: {options.method}, {found.error_mode} errors, "
        f"{found.patch_value} patch; total effect {found.total_effect:+.3f} {found.unit} (mean)"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("effect", "± s.e.", "mean |.|", "pairs", "node", "most in pair"):
        words = name in ("node", "most in pair")
        table.add_column(name, justify="left" if words else "right", no_wrap=True, min_width=None if words else 8)
    for weighted, own in list(zip(ranking.nodes, found.strongest, strict=True))[: options.rows]:
        error = "" if weighted.standard_error is None else f"{weighted.standard_error:.3f}"
        most = ", ".join(f"{example} ({effect:+.2f})" for example, effect in own[:1])
        values = (f"{weighted.effect:+.3f}", error, f"{weighted.mean_absolute:.3f}", str(weighted.count))
        table.add_row(*values, short_site(found.name(weighted.node)).removesuffix(f"@{EVERYWHERE}"), most)
    console.print(table)
    console.print(f"effect: in {found.unit}; {found.sign}. Pairs are numbered from 0.")
    console.print(f"All nodes are in {target}.")
