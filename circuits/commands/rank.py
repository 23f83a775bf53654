"""`jumpwire rank`: every node's effect averaged over a dataset of any length, with the examples where it does most."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from circuits.commands.find import CHUNKS, quadrature, refuse_unknown
from circuits.commands.inputs import Inputs
from circuits.terminal.console import progress_bar, quiet_libraries
from circuits.terminal.resumable import chunks_in_words, chunks_report, resumable
from graphs.merge_positions import EVERYWHERE
from graphs.nodes import short_site

if TYPE_CHECKING:
    from attribution.effects.effects import Effects
    from attribution.effects.quadrature import Quadrature
    from attribution.prompts.prompt_pairs import PromptPair, PromptPairs
    from attribution.splice.spliced_model import SplicedModel
    from circuits.ranking.dataset import DatasetRanking

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
    memory: int | None = None
    resume: bool = True
    rows: int = 15
    out: str | None = None


def rank(console: Console, inputs: Inputs, options: RankOptions) -> None:
    """The whole command."""
    with console.status("loading"):
        from circuits.ranking.dataset import rank
        from circuits.ranking.ranking_file import write_ranking
        from circuits.terminal.replacing import replacing

        quiet_libraries()
        plan = _Plan.of(options)
        target = Path(options.out or Path("out") / f"{inputs.name}-rank.parquet")
        chunks = _chunks_beside(target)
        stream = _Stream.of(inputs)
        target.parent.mkdir(parents=True, exist_ok=True)
    with console.status("loading the model and its SAEs"):
        spliced = inputs.load_spliced()
    with console.status("reading the pairs"):
        count, longest = stream.read_through(spliced)
        measure = plan.on(spliced, longest)
    with resumable(chunks, resume=options.resume) as store:
        with progress_bar(console, f"{options.method} on {count:,} pair(s)", store) as told:
            found = rank(
                stream.pairs(spliced),
                spliced.model,
                measure,
                at_once=options.at_once,
                together=options.together,
                strongest=options.strongest,
                done=lambda number: told(number / count),
            )
        with replacing(target) as path:
            write_ranking(found, path, chunks_report(store))
        _print(console, found, options, target)
        console.print(chunks_in_words(store), highlight=False)


def _chunks_beside(target: Path) -> Path:
    """The folder of finished work: the file's whole name and `.chunks`. Refused here if either is in the way."""
    if target.is_dir():
        raise ValueError(f"--out {target} is a folder: give the file to write, as in {target / 'rank.parquet'}.")
    chunks = target.with_name(f"{target.name}.{CHUNKS}")
    if chunks.is_file():
        raise ValueError(f"{chunks} is a file where the folder of finished work would be: give another --out.")
    return chunks


@dataclass(frozen=True)
class _Stream:
    """The pairs: a JSONL file is read as it is needed; other files and tasks are small."""

    inputs: Inputs
    lines: str | None

    @classmethod
    def of(cls, inputs: Inputs) -> "_Stream":
        """A line of a JSONL file that has not the form of a pair is found here, before a model is loaded."""
        from attribution.prompts.pair_stream import count_pairs

        if inputs.pairs is None or Path(inputs.pairs).suffix != ".jsonl":
            return cls(inputs, None)
        count_pairs(inputs.pairs, inputs.examples)
        return cls(inputs, inputs.pairs)

    def read_through(self, spliced: "SplicedModel") -> "tuple[int, PromptPair]":
        """How many pairs there are, and the longest.

        Reads all: what does not fit the model or its tokenizer, and roles of some pairs only, are found here.
        """
        from attribution.prompts.pair_stream import SameRoles

        roles, count, longest = SameRoles(), 0, None
        for pair in self.pairs(spliced):
            roles.check(count, pair.roles)
            count += 1
            longest = pair if longest is None else max(longest, pair, key=len)
        if longest is None:
            raise ValueError("No prompt pairs: there is nothing to measure.")
        return count, longest

    def pairs(self, spliced: "SplicedModel") -> "Iterator[PromptPair]":
        """The pairs from the first on."""
        from attribution.prompts.pair_stream import pair_stream

        if self.lines is None:
            return iter(self.inputs.prompts(spliced.model))
        stream = pair_stream(self.lines, spliced.model, splice_bos=spliced.splice_bos)
        return islice(stream, self.inputs.examples)


@dataclass(frozen=True)
class _Plan:
    """How pairs are measured, as far as no model is needed."""

    method: str
    points: "Quadrature | None"
    about: dict[str, Any]

    @classmethod
    def of(cls, options: RankOptions) -> "_Plan":
        """From the options; refused here if there is no such choice."""
        from attribution.methods.registry import METHODS, refuse_points
        from attribution.prompts.metrics import METRICS
        from attribution.splice.patch_values import counterfactual, zero
        from circuits.commands.method_options import refuse_excluded
        from circuits.discovery.discover import patching_mode

        known = {"method": tuple(METHODS), "metric": tuple(METRICS), "patch": PATCHES}
        refuse_unknown({name: getattr(options, name) for name in known}, known)
        refuse_excluded(options.method, options.error, options.patch, options.metric)
        if options.points or options.rule:
            refuse_points(options.method)
        about = {
            "metric": METRICS[options.metric],
            "error_mode": patching_mode(options.method, options.error),  # pyright: ignore
            "patch_value": zero if options.patch == "zero" else counterfactual,
            "memory": options.memory,
        }
        return cls(options.method, quadrature(options.points, options.rule, options.method), about)

    def on(self, spliced: "SplicedModel", longest: "PromptPair") -> "Callable[[PromptPairs], Effects]":
        """Measures a few pairs within the memory; a ValueError where the longest alone does not fit."""
        from attribution.effects.measurement import silent
        from attribution.prompts.prompt_pairs import PromptPairs
        from circuits.discovery.measuring import Question, measure

        question = Question(spliced, PromptPairs((longest,)), **self.about)
        question.room.refuse_if_too_small()
        question = replace(question, memory=question.room.size)  # what is free at first, not what batches leave
        return lambda few: measure(replace(question, pairs=few), self.method, None, self.points, silent).effects


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
